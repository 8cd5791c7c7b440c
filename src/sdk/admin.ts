// The door of 'callplane/admin': what those need who operate a plane. Apart from the SDK, whose size it would be part of.
import { OperatedCalls } from './operated-calls.ts'
import type { Callplane } from './plane.ts'
import { transportOf } from './transport-of.ts'

export type { AttemptOutcome, Failure } from '../protocol/job.ts'
export type { CallFilter } from './call-filter.ts'
export type { CallAttempt, CallRecord, CallStep, CallSummary } from './call-record.ts'
export type { CancelledCall, CancelTotals, RedrivenCall, RedriveTotals } from './operated-calls.ts'

export interface Admin {
  /** The calls of the namespace of the key. */
  readonly calls: OperatedCalls
}

/**
 * The operations of a plane, over the connection of a Callplane. What a key may not do throws `forbidden`. Requests are
 * repeated through an outage for five minutes, then throw `plane_unreachable`.
 *
 * @example
 * const { calls } = admin(plane)
 * for await (const call of calls.list({ state: 'failed', service: 'mailer' })) console.log(call.id, call.failure)
 * await calls.redrive({ state: 'failed', service: 'mailer' })
 */
export function admin(plane: Callplane): Admin {
  return { calls: new OperatedCalls(transportOf(plane)) }
}
