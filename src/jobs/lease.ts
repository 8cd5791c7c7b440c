// What a runner names when it speaks of an attempt, and what it hears when the attempt is no longer its own.
import { CallplaneError } from '../protocol/errors.ts'

/** A job and the token of the attempt that the sender believes to hold it by. */
export interface LeaseRef {
  id: string
  token: string
}

/**
 * What became of a report: the state that this attempt brought the job to (a pending one is due again in `dueInMs`), or
 * `lease_lost`. `isFirst` is false for the same report sent again.
 */
export type Verdict =
  | { id: string; state: 'succeeded'; isFirst: boolean }
  | { id: string; state: 'failed'; isFirst: boolean; isTimedOut: boolean }
  | { id: string; state: 'pending'; isFirst: boolean; service: string; dueInMs: number }
  | { id: string; error: CallplaneError }

export function leaseLost(id: string): CallplaneError {
  return new CallplaneError(
    'lease_lost',
    `the attempt no longer holds job ${id}: its lease ran out, or the call was cancelled or is unknown; drop its result`,
  )
}

/**
 * Asks again for the leases that a statement neither ended nor found ended: a twin of the same report was committing
 * while it looked. Whatever is still undecided after that has lost its lease.
 */
export async function settle<L extends LeaseRef>(
  leases: readonly L[],
  ask: (open: readonly L[]) => Promise<Map<string, Verdict>>,
): Promise<Verdict[]> {
  const verdicts = leases.length === 0 ? new Map<string, Verdict>() : await ask(leases)
  const open = leases.filter((lease) => !verdicts.has(lease.token))
  if (open.length > 0) for (const [token, verdict] of await ask(open)) verdicts.set(token, verdict)
  return leases.map(({ id, token }) => verdicts.get(token) ?? { id, error: leaseLost(id) })
}
