// The runner's side of the wire: join, poll (report + heartbeat + claim in one request), leave.
import { wireError } from './calls.ts'
import type { Endpoint } from './endpoint.ts'
import {
  MAX_BATCH,
  MAX_CLAIM,
  MAX_FUNCTIONS_PER_SERVICE,
  MAX_PAYLOAD_BYTES,
  MAX_SERVICES_PER_RUNNER,
  MAX_WAIT_MS,
} from './limits.ts'
import { functionPolicy } from './policy.ts'
import {
  answer,
  array,
  boolean,
  bytes,
  integer,
  name,
  object,
  optional,
  string,
  uuid,
  variant,
  type TypeOf,
} from './shape.ts'

const count = (max: number, description: string) => integer({ min: 0, max, description })
const anyCount = count(Number.MAX_SAFE_INTEGER, 'a count')

export const registerRunnerRequest = object({
  runner: uuid('made by the process, new at each start'),
  host: optional(string({ max: 200, description: 'where it runs, for people' })),
  sdk: optional(string({ max: 100, description: 'name and version of the SDK' })),
  services: array(
    object({
      name: name('service'),
      slots: count(100_000, 'how many functions may run at once'),
      functions: array(object({ name: name('function'), policy: optional(functionPolicy) }), {
        min: 1,
        max: MAX_FUNCTIONS_PER_SERVICE,
      }),
    }),
    { min: 1, max: MAX_SERVICES_PER_RUNNER },
  ),
})
export type RegisterRunner = TypeOf<typeof registerRunnerRequest>

/** Makes the runner and its functions known. Repeated as often as the runner likes: the last one holds. */
export const registerRunner: Endpoint<RegisterRunner, { namespace: string }> = {
  method: 'POST',
  path: '/v1/runners/register',
  scope: 'serve',
  summary: 'Registers a runner, its services, and the policies of their functions.',
  request: registerRunnerRequest,
  answer: answer({ namespace: name('namespace') }),
  form: 'msgpack',
}

const held = { id: uuid('of the job'), token: uuid('of the attempt') }
const reportShape = variant('ended', {
  succeeded: object({ ...held, result: bytes({ max: MAX_PAYLOAD_BYTES, description: 'payload: the return value' }) }),
  threw: object({
    ...held,
    error: bytes({ max: MAX_PAYLOAD_BYTES, description: 'payload: what was thrown' }),
    isRetryable: boolean(),
  }),
})
export type Report = TypeOf<typeof reportShape>

const heartbeatShape = object({
  ...held,
  progress: optional(bytes({ max: MAX_PAYLOAD_BYTES, description: 'payload: how far the function is' })),
})
export type Heartbeat = TypeOf<typeof heartbeatShape>

const claimShape = object({
  id: uuid('the claim; kept until an answer was received, so that a lost answer is delivered again'),
  waitMs: integer({ min: 0, max: MAX_WAIT_MS, description: 'how long to wait for a job' }),
  services: array(
    object({
      name: name('service'),
      functions: array(name('function'), { min: 1, max: MAX_FUNCTIONS_PER_SERVICE }),
      capacity: integer({ min: 1, max: MAX_CLAIM, description: 'free slots' }),
    }),
    { min: 1, max: MAX_SERVICES_PER_RUNNER },
  ),
})
export type ClaimRequest = TypeOf<typeof claimShape>

export const leaveRunnerRequest = object({ runner: uuid() })

export const pollRequest = object({
  runner: uuid(),
  reports: optional(array(reportShape, { max: MAX_BATCH })),
  heartbeats: optional(array(heartbeatShape, { max: MAX_BATCH })),
  claim: optional(claimShape),
})

export const claimedJob = answer({
  id: uuid(),
  service: name('service'),
  function: name('function'),
  args: bytes({ max: MAX_PAYLOAD_BYTES }),
  token: uuid('sent back with every heartbeat and report of this attempt'),
  attempt: anyCount,
  maxAttempts: anyCount,
  fence: count(Number.MAX_SAFE_INTEGER, 'grows with every attempt, also over redrives'),
  leaseMs: count(Number.MAX_SAFE_INTEGER, 'what is left of the lease'),
  timeoutMs: optional(count(Number.MAX_SAFE_INTEGER, 'what is left of the time of this attempt')),
  retryOn: optional(array(string({ max: 200 }), { max: 50 })),
  parent: optional(uuid()),
})
export type ClaimedJob = TypeOf<typeof claimedJob>

const verdict = answer({ error: optional(wireError) })

export const pollAnswer = answer({
  reports: array(verdict, { max: MAX_BATCH }),
  heartbeats: array(verdict, { max: MAX_BATCH }),
  jobs: array(claimedJob, { max: MAX_CLAIM }),
})

/**
 * Reports what ended, renews what runs, and waits for new jobs. It answers at once when a report or a
 * heartbeat was refused, so that the runner can act.
 */
export const poll: Endpoint<TypeOf<typeof pollRequest>, TypeOf<typeof pollAnswer>> = {
  method: 'POST',
  path: '/v1/runners/poll',
  scope: 'serve',
  summary: 'Reports outcomes, renews leases and waits for jobs, in one request.',
  request: pollRequest,
  answer: pollAnswer,
  form: 'msgpack',
}

/** Says that the runner goes. Its running jobs stay its own until their leases end. */
export const leaveRunner: Endpoint<{ runner: string }, Record<never, never>> = {
  method: 'POST',
  path: '/v1/runners/leave',
  scope: 'serve',
  summary: 'Marks the runner as gone.',
  request: leaveRunnerRequest,
  answer: answer({}),
  form: 'msgpack',
}
