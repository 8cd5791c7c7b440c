// How one call stands, for programs (payloads as bytes) and for people (payloads as JSON).
import type { JobRecord } from '../jobs/find.ts'
import type { CallStatus } from '../protocol/calls.ts'
import { decodePayload } from '../protocol/codec.ts'
import { CallplaneError } from '../protocol/errors.ts'
import { toJson } from '../protocol/json-value.ts'

/** The status as the wire carries it. */
export function callStatus(job: JobRecord): CallStatus {
  const { outcome } = job
  const waiting = waitingOf(job)
  return {
    id: job.id,
    service: job.service,
    function: job.function,
    state: job.state,
    attempt: job.attempt,
    maxAttempts: job.maxAttempts,
    createdAt: instant(job.createdAtMs),
    ...waiting,
    ...(job.state === 'pending' ? { runAt: instant(job.runAtMs) } : {}),
    ...(job.finishedAtMs === null ? {} : { finishedAt: instant(job.finishedAtMs) }),
    ...(job.parent === null ? {} : { parent: job.parent }),
    ...lineOf(job),
    ...(job.failure === null ? {} : { failure: job.failure }),
    ...(job.progress === null ? {} : { progress: job.progress }),
    ...(outcome?.ended === 'succeeded' ? { result: outcome.result } : {}),
    ...(outcome?.ended === 'threw' ? { error: outcome.error } : {}),
    ...(outcome !== null && 'message' in outcome ? { reason: outcome.message } : {}),
    attempts: job.attempts.map((attempt) => ({
      attempt: attempt.attempt,
      fence: attempt.fence,
      runner: attempt.runner,
      startedAt: instant(attempt.startedAtMs),
      ...(attempt.endedAtMs === null ? {} : { endedAt: instant(attempt.endedAtMs) }),
      ...(attempt.outcome === null ? {} : { outcome: attempt.outcome }),
      ...(attempt.error === null ? {} : { error: attempt.error }),
      ...(attempt.message === null ? {} : { message: attempt.message }),
    })),
    timeline: job.steps.map(({ atMs, from, to, fence, attempt }) => {
      return { at: instant(atMs), ...(from === null ? {} : { from }), to, attempt, fence }
    }),
  }
}

/** The same with every payload as JSON; one that only the two ends can read is told as such. */
export function callStatusAsJson(job: JobRecord): object {
  const status = callStatus(job)
  return {
    ...status,
    ...asJson(status, 'result'),
    ...asJson(status, 'error'),
    ...asJson(status, 'progress'),
    attempts: status.attempts.map((attempt) => ({ ...attempt, ...asJson(attempt, 'error') })),
  }
}

function asJson<K extends string>(from: { [P in K]?: unknown }, key: K): { [P in K]?: unknown } | null {
  const payload = from[key]
  return payload instanceof Uint8Array ? ({ [key]: payloadAsJson(payload) } as { [P in K]?: unknown }) : null // one key: K
}

/** A payload as JSON data; what cannot be read is `{ "$unreadable": code }`. */
function payloadAsJson(payload: Uint8Array): unknown {
  try {
    return toJson(decodePayload(payload))
  } catch (error) {
    return { $unreadable: error instanceof CallplaneError ? error.code : 'internal' }
  }
}

function waitingOf(job: JobRecord): Pick<CallStatus, 'waitingFor' | 'reason'> {
  if (job.state !== 'pending') return {}
  if (!job.isDue) {
    const reason =
      job.attempt === 0 ? 'the call is delayed' : `attempt ${job.attempt} did not succeed; it will be tried again`
    return { waitingFor: 'time', reason }
  }
  const name = `${job.service}.${job.function}`
  const reason = job.isServed
    ? `every runner of ${name} is busy or away`
    : `no runner has registered ${name} yet: check the names, or start the service`
  return { waitingFor: 'runner', reason }
}

/** Where the job stands in a line of redrives; nothing where it is in none. */
export function lineOf({
  id,
  origin,
  redrivenFrom,
  redrivenAs,
}: Line): Pick<CallStatus, 'origin' | 'redrivenFrom' | 'redrivenAs'> {
  return {
    ...(origin === id ? {} : { origin }),
    ...(redrivenFrom === null ? {} : { redrivenFrom }),
    ...(redrivenAs === null ? {} : { redrivenAs }),
  }
}

type Line = Pick<JobRecord, 'id' | 'origin' | 'redrivenFrom' | 'redrivenAs'>

export function instant(ms: number): string {
  return new Date(ms).toISOString()
}
