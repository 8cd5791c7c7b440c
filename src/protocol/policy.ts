// Policies: how often, how long and how soon a call is tried. Set on a function, overridden by a call, copied into the job.
import { array, integer, number, object, oneOf, optional, string, type TypeOf } from './shape.ts'

const DAY_MS = 86_400_000
const YEAR_MS = 365 * DAY_MS

/** Durations of calls, from one millisecond to a year. */
export const durationMs = (description: string) => integer({ min: 1, max: YEAR_MS, description })

const backoff = object({
  initialMs: optional(integer({ min: 0, max: DAY_MS, description: 'wait before the second attempt; default 1000' })),
  factor: optional(number({ min: 1, max: 100 })),
  maxMs: optional(integer({ min: 0, max: 30 * DAY_MS, description: 'the longest wait; default 60000' })),
  jitter: optional(oneOf(['full', 'none'])),
})

/** When an attempt that did not succeed is followed by another. */
export const retryPolicy = object({
  attempts: optional(integer({ min: 1, max: 1_000, description: 'attempts in all; default 3' })),
  backoff: optional(backoff),
  on: optional(
    array(string({ max: 200, description: 'stall, throw, timeout, or the name or code of an error' }), { max: 50 }),
  ),
})
export type RetryPolicy = TypeOf<typeof retryPolicy>

export const priorityShape = integer({ min: -1_000, max: 1_000, description: 'higher runs first; default 0' })

/** The policies of a function, as its service registers them. */
export const functionPolicy = object({
  retry: optional(retryPolicy),
  timeoutMs: optional(durationMs('longest time of one attempt; default none')),
  deadlineMs: optional(durationMs('longest time of the whole call, from its creation; default none')),
  leaseMs: optional(
    integer({ min: 1_000, max: 3_600_000, description: 'silence after which an attempt is stalled; default 30000' }),
  ),
  priority: optional(priorityShape),
})
export type FunctionPolicy = TypeOf<typeof functionPolicy>

export const DEFAULT_ATTEMPTS = 3
export const DEFAULT_LEASE_MS = 30_000

/** The lease of an attempt until its first heartbeat: an answer that was lost on its way costs no more than this. */
export const FIRST_LEASE_MS = 15_000
