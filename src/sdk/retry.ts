// Requests that someone waits for, and that are safe to send again: tried until there is an answer or the time is over.
import { CallplaneError } from '../protocol/errors.ts'
import { Backoff } from './backoff.ts'
import { Unanswered, type Transport } from './transport.ts'

/** How long a request without an answer is tried again, unless its call has a deadline. */
export const RETRY_FOR_MS = 300_000

/** The answer of `ask`; `plane_unreachable` after five minutes without one. Other errors of the plane are thrown at once. */
export async function untilAnswered<T>(transport: Transport, ask: () => Promise<T>): Promise<T> {
  const backoff = new Backoff(transport.budget)
  const startedAtMs = performance.now()
  for (;;) {
    try {
      return await ask()
    } catch (error) {
      if (!(error instanceof Unanswered)) throw error
      if (error.refusal !== null) throw error.refusal
      const delayMs = backoff.failed(error.retryAfterMs)
      const triedForMs = performance.now() - startedAtMs
      if (triedForMs + delayMs > RETRY_FOR_MS) throw unreachable(transport.url, triedForMs, error)
      await transport.pause(delayMs)
    }
  }
}

export function unreachable(url: string, triedForMs: number, last: Unanswered | null): CallplaneError {
  const why = last === null ? 'no answer at all' : last.message
  const message = `the control plane at ${url} did not answer for ${Math.round(triedForMs / 1_000)} s: ${why}`
  return new CallplaneError('plane_unreachable', message, { cause: last?.cause ?? last })
}
