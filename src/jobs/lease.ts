// What a runner names when it speaks of an attempt, and what it hears when the attempt is no longer its own.
import type { Sql } from '../db/sql.ts'
import { CallplaneError } from '../protocol/errors.ts'
import type { AttemptOutcome, JobState } from '../protocol/job.ts'

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

/** In the order of their ids: statements that lock the same jobs lock them in one order, and none waits for the other for ever. */
export function inLockOrder<L extends LeaseRef>(leases: readonly L[]): L[] {
  return leases.toSorted((a, b) => (a.id < b.id ? -1 : 1))
}

/** The end of an attempt, found by its token, and where its job stands now. */
export interface EndedAttempt {
  id: string
  token: string
  outcome: AttemptOutcome
  state: JobState
  service: string
  dueInMs: number
}

/**
 * What became of each report, in the order sent. Those that the statement did not apply were applied before, as the row of
 * the attempt tells (a twin that was committing meanwhile has committed by then), or have lost their lease.
 */
export async function settle(
  sql: Sql,
  namespace: string,
  leases: readonly LeaseRef[],
  { apply, repeat }: { apply: () => Promise<Map<string, Verdict>>; repeat: (ended: EndedAttempt) => Verdict | null },
): Promise<Verdict[]> {
  if (leases.length === 0) return []
  const verdicts = await apply()
  const open = leases.filter((lease) => !verdicts.has(lease.token))
  for (const ended of open.length === 0 ? [] : await findEnded(sql, namespace, open)) {
    const verdict = repeat(ended)
    if (verdict !== null) verdicts.set(ended.token, verdict)
  }
  return leases.map(({ id, token }) => verdicts.get(token) ?? { id, error: leaseLost(id) })
}

type EndedRow = Omit<EndedAttempt, 'dueInMs'> & { due_in_ms: number }

async function findEnded(sql: Sql, namespace: string, leases: readonly LeaseRef[]): Promise<EndedAttempt[]> {
  const rows = await sql<EndedRow>(
    /* sql */ `
    with sent as materialized (
      select $1::text as namespace, * from unnest($2::uuid[], $3::uuid[]) as s (id, token)
    )
    select s.id, s.token, a.outcome, j.state, j.service, (extract(epoch from j.run_at - now()) * 1000)::int8 as due_in_ms
    from sent s
    join callplane.attempts a on a.namespace = s.namespace and a.job_id = s.id and a.token = s.token
    join callplane.jobs j on j.namespace = s.namespace and j.id = s.id`,
    [namespace, leases.map((lease) => lease.id), leases.map((lease) => lease.token)],
  )
  return rows.map(({ due_in_ms: dueInMs, ...row }) => ({ ...row, dueInMs }))
}
