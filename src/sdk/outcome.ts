// How a call ended, as the caller meets it: a value, or an error that is thrown.
import { decodePayload } from '../protocol/codec.ts'
import { CallplaneError, type ErrorCode } from '../protocol/errors.ts'
import type { CallOutcome } from '../protocol/job.ts'

const CODE_OF_END = {
  timed_out: 'call_timed_out',
  stalled: 'call_stalled',
  expired: 'call_expired',
  cancelled: 'call_cancelled',
} as const satisfies Record<Exclude<CallOutcome['ended'], 'succeeded' | 'threw'>, ErrorCode>

/** What the function returned; throws what it threw, whatever that was, or the end that the plane made. */
export function resultOf(outcome: CallOutcome): unknown {
  switch (outcome.ended) {
    case 'succeeded':
      return decodePayload(outcome.result)
    case 'threw':
      throw decodePayload(outcome.error)
    default:
      // A newer plane may know ends that this SDK does not.
      throw new CallplaneError(CODE_OF_END[outcome.ended] ?? 'internal', outcome.message)
  }
}
