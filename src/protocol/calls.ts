// The caller's side of the wire: make calls, wait for them, cancel them, ask how one stands.
import type { Endpoint } from './endpoint.ts'
import { isErrorCode, type ErrorCode } from './errors.ts'
import { callOutcome, FAILURES, type JobState } from './job.ts'
import { MAX_BATCH, MAX_MESSAGE_CHARS, MAX_PAYLOAD_BYTES, MAX_WAIT_MS } from './limits.ts'
import { durationMs, priorityShape, retryPolicy } from './policy.ts'
import {
  answer,
  anything,
  array,
  boolean,
  bytes,
  integer,
  name,
  object,
  oneOf,
  optional,
  string,
  uuid,
  type OptionalShape,
  type Shape,
  type TypeOf,
} from './shape.ts'

export const JOB_STATES = [
  'pending',
  'running',
  'succeeded',
  'failed',
  'cancelled',
] as const satisfies readonly JobState[]

/** Codes pass as they are: an older SDK may meet one that it does not know. */
const errorCode: Shape<ErrorCode> = {
  parse(value, path) {
    const code = string({ max: 100 }).parse(value, path)
    return isErrorCode(code) ? code : 'internal'
  },
  schema: { type: 'string', description: 'a code of the table of errors' },
}
export const wireError = answer({ code: errorCode, message: string({ max: MAX_MESSAGE_CHARS }) })

const waitMs = integer({
  min: 0,
  max: MAX_WAIT_MS,
  description: 'how long the answer may wait, in milliseconds',
})

export const callRequest = object({
  id: uuid('UUIDv7 made by the client; the same id sent again is the same call'),
  service: name('service'),
  function: name('function'),
  args: bytes({ max: MAX_PAYLOAD_BYTES, description: 'payload: the array of arguments' }),
  argsDigest: bytes({ max: 32, exactly: 32, description: 'SHA-256 of args, or a keyed HMAC when they are encrypted' }),
  parent: optional(uuid('the job in which the call was made')),
  delayMs: optional(durationMs('earliest start, from now')),
  priority: optional(priorityShape),
  timeoutMs: optional(durationMs('longest time of one attempt')),
  deadlineMs: optional(durationMs('longest time of the whole call')),
  retry: optional(retryPolicy),
})
export type CallRequest = TypeOf<typeof callRequest>

export const createCallsRequest = object({
  calls: array(callRequest, { min: 1, max: MAX_BATCH }),
  waitMs: optional(waitMs),
})

/** First frame: what became of each call, in the order sent. `accepted` calls are on disk. */
const acceptedFrame = answer({
  accepted: array(answer({ id: uuid(), error: optional(wireError) }), { max: MAX_BATCH }),
})
/** A call that ended, as it ends. */
const endedFrame = answer({ id: uuid(), outcome: callOutcome })
/** A call that cannot be waited for. */
const refusedFrame = answer({ id: uuid(), error: wireError })
/** Last frame: all was said, or the time is over. A stream without it was cut. */
const lastFrame = answer({ isComplete: boolean() })

export type CallFrame =
  | TypeOf<typeof acceptedFrame>
  | TypeOf<typeof endedFrame>
  | TypeOf<typeof refusedFrame>
  | TypeOf<typeof lastFrame>

const FRAMES: [key: string, shape: Shape<CallFrame>][] = [
  ['accepted', acceptedFrame],
  ['outcome', endedFrame],
  ['error', refusedFrame],
  ['isComplete', lastFrame],
]

const callFrame: Shape<CallFrame> = {
  parse(value, path) {
    const isObject = typeof value === 'object' && value !== null
    for (const [key, shape] of FRAMES) if (isObject && key in value) return shape.parse(value, path)
    return lastFrame.parse(value, path)
  },
  schema: { anyOf: FRAMES.map(([, shape]) => shape.schema) },
}

/** Creates calls, and streams their outcomes while the answer may wait. */
export const createCalls: Endpoint<TypeOf<typeof createCallsRequest>, CallFrame> = {
  method: 'POST',
  path: '/v1/calls',
  scope: 'call',
  summary: 'Creates a batch of calls; with waitMs, streams each outcome as it comes.',
  request: createCallsRequest,
  answer: callFrame,
  form: 'frames',
}

export const waitCallsRequest = object({ ids: array(uuid(), { min: 1, max: MAX_BATCH }), waitMs: optional(waitMs) })

/** The way back after a cut: waits for calls that exist. */
export const waitCalls: Endpoint<TypeOf<typeof waitCallsRequest>, CallFrame> = {
  method: 'POST',
  path: '/v1/calls/wait',
  scope: 'call',
  summary: 'Streams the outcomes of calls made earlier, as they come.',
  request: waitCallsRequest,
  answer: callFrame,
  form: 'frames',
}

export const cancelCallsRequest = object({
  ids: array(uuid(), { min: 1, max: MAX_BATCH }),
  reason: optional(string({ max: MAX_MESSAGE_CHARS })),
})
export const cancelCallsAnswer = answer({
  calls: array(answer({ id: uuid(), state: optional(oneOf(JOB_STATES)), error: optional(wireError) }), {
    max: MAX_BATCH,
  }),
})

/** Cancels calls that have not ended; one that has keeps its end, and the answer says which. */
export const cancelCalls: Endpoint<TypeOf<typeof cancelCallsRequest>, TypeOf<typeof cancelCallsAnswer>> = {
  method: 'POST',
  path: '/v1/calls/cancel',
  scope: 'call',
  summary: 'Cancels calls that have not ended yet.',
  request: cancelCallsRequest,
  answer: cancelCallsAnswer,
  form: 'msgpack',
}

export const instant = (description: string): Shape<string> =>
  string({ max: 40, description: `${description}; ISO 8601, the database's clock` })

const attemptAnswer = answer({
  attempt: integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
  fence: integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
  runner: uuid(),
  startedAt: instant('when it was claimed'),
  endedAt: optional(instant('when it ended')),
  outcome: optional(oneOf(['succeeded', 'cancelled', 'threw', 'timed_out', 'stalled', 'expired'])),
  error: optional(anything('what it threw: a payload, or its JSON')),
  message: optional(string({ max: MAX_MESSAGE_CHARS })),
})

const stepAnswer = answer({
  at: instant('when it happened'),
  from: optional(oneOf(JOB_STATES)),
  to: oneOf(JOB_STATES),
  attempt: integer({ min: 0, max: Number.MAX_SAFE_INTEGER, description: 'attempts begun by then' }),
  fence: integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
})

/** Where a call stands in a line of redrives. */
export const redriveFields: {
  origin: OptionalShape<string>
  redrivenFrom: OptionalShape<string>
  redrivenAs: OptionalShape<string>
} = {
  origin: optional(uuid('the first call of its line of redrives, where it is not itself the first')),
  redrivenFrom: optional(uuid('the call that this one runs anew')),
  redrivenAs: optional(uuid('the call that runs this one anew')),
}

export const callStatus = answer({
  id: uuid(),
  service: name('service'),
  function: name('function'),
  state: oneOf(JOB_STATES),
  attempt: integer({ min: 0, max: Number.MAX_SAFE_INTEGER, description: 'attempts begun so far' }),
  maxAttempts: integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  waitingFor: optional(oneOf(['runner', 'time', 'limit'])),
  reason: optional(string({ max: MAX_MESSAGE_CHARS, description: 'why it waits or how it ended, for a person' })),
  createdAt: instant('when the plane accepted it'),
  runAt: optional(instant('earliest start of the next attempt')),
  finishedAt: optional(instant('when it ended')),
  parent: optional(uuid('the job in which the call was made')),
  ...redriveFields,
  failure: optional(oneOf(FAILURES)),
  result: optional(anything('what the function returned: a payload, or its JSON')),
  error: optional(anything('what the function threw: a payload, or its JSON')),
  progress: optional(anything('the last progress: a payload, or its JSON')),
  attempts: array(attemptAnswer, { max: 10_000 }),
  timeline: array(stepAnswer, { max: 1_000 }),
})
export type CallStatus = TypeOf<typeof callStatus>

/** One call: its state, its attempts, its timeline, and its result. */
export const getCall: Endpoint<never, CallStatus> = {
  method: 'GET',
  path: '/v1/calls/{id}',
  scope: 'call',
  summary: 'Status, timeline and result of a call.',
  request: null,
  query: object({
    wait: optional(
      integer({ min: 0, max: MAX_WAIT_MS, description: 'how long to wait for its end, in milliseconds; default 0' }),
    ),
  }),
  answer: callStatus,
  form: 'either',
}

const unfinishedCall = answer({
  id: uuid(),
  state: oneOf(['unfinished']),
  poll: string({ max: 200, description: 'path to ask for its end' }),
})

/** For people without the SDK: a JSON array in, the result as JSON out. */
export const callAsJson: Endpoint<unknown[], unknown> = {
  method: 'POST',
  path: '/v1/call/{service}/{function}',
  scope: 'call',
  summary: 'Calls a function with a JSON array of arguments and answers its result as JSON.',
  request: array(anything('an argument'), { max: Number.MAX_SAFE_INTEGER }),
  requestForm: 'json',
  answer: anything('the result of the function as JSON'),
  form: 'json',
  unfinished: unfinishedCall,
}
