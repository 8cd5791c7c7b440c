// The states of a job, and how calls and attempts end. `schema.sql` tells the story and draws the diagram.
import { answer, bytes, string, variant, type TypeOf } from './shape.ts'
import { MAX_MESSAGE_CHARS, MAX_PAYLOAD_BYTES } from './limits.ts'

/** Where a job is in its life. The last three are final: they never change. */
export type JobState = 'pending' | 'running' | 'succeeded' | 'failed' | 'cancelled'

export const IS_FINAL: Record<JobState, boolean> = {
  pending: false,
  running: false,
  succeeded: true,
  failed: true,
  cancelled: true,
}

/** Why a failed job failed. */
export type Failure = 'threw' | 'timed_out' | 'stalled' | 'expired'
export const FAILURES = ['threw', 'timed_out', 'stalled', 'expired'] as const satisfies readonly Failure[]

/** How an attempt ended. */
export type AttemptOutcome = 'succeeded' | 'cancelled' | Failure

const payload = (description: string) => bytes({ max: MAX_PAYLOAD_BYTES, description })
const ended = answer({ message: string({ max: MAX_MESSAGE_CHARS }) })

/** How a call ended. `result` and `error` are payloads, which only the two ends read; the rest speaks for the plane. */
export const callOutcome = variant('ended', {
  succeeded: answer({ result: payload('what the function returned') }),
  threw: answer({ error: payload('what the function threw') }),
  timed_out: ended,
  stalled: ended,
  expired: ended,
  cancelled: ended,
})
export type CallOutcome = TypeOf<typeof callOutcome>
