// Taking calls back.
import { CallplaneError, fromWireError } from '../protocol/errors.ts'
import type { JobState } from '../protocol/job.ts'
import { MAX_BATCH } from '../protocol/limits.ts'
import { quiet } from './quiet.ts'
import { untilAnswered } from './retry.ts'
import { CANCEL_CALLS } from './routes.ts'
import type { Transport } from './transport.ts'

/** The state that the call is in then: `cancelled`, or the end that came first. */
export async function cancelCall(transport: Transport, id: string, reason?: string): Promise<JobState> {
  const { calls } = await cancel(transport, [id], reason)
  const { state, error } = calls[0] ?? {}
  if (state !== undefined) return state
  throw error === undefined ? new CallplaneError('internal') : fromWireError(error)
}

/** In the background, as far as it can be done: who dropped the calls does not wait. */
export function takeBack(transport: Transport, ids: readonly string[]): void {
  for (let start = 0; start < ids.length; start += MAX_BATCH) {
    void quiet(cancel(transport, ids.slice(start, start + MAX_BATCH)))
  }
}

export function cancel(transport: Transport, ids: string[], reason?: string) {
  const body = reason === undefined ? { ids } : { ids, reason }
  return untilAnswered(transport, () => transport.send(CANCEL_CALLS, body))
}
