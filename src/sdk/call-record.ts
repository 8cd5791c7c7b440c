// Calls as those see them who operate a plane: a line of a list, and everything that is known of one.
import type { CallStatus as WireStatus } from '../protocol/calls.ts'
import { decodePayload } from '../protocol/codec.ts'
import { CallplaneError } from '../protocol/errors.ts'
import type { AttemptOutcome, Failure, JobState } from '../protocol/job.ts'
import type { CallSummary as WireSummary } from '../protocol/list-calls.ts'

interface CallFacts {
  readonly id: string
  readonly service: string
  readonly function: string
  readonly state: JobState
  /** Why it failed, where it did. */
  readonly failure?: Failure
  /** Attempts begun so far. */
  readonly attempt: number
  readonly maxAttempts: number
  /** When the plane accepted it. */
  readonly createdAt: Date
  /** Of a pending call: the earliest start of the next attempt. */
  readonly runAt?: Date
  readonly finishedAt?: Date
  /** The call whose function made it. */
  readonly parent?: string
  /** The first call of its line of redrives, where it is not itself the first. */
  readonly origin?: string
  /** The call that this one runs anew. */
  readonly redrivenFrom?: string
  /** The call that runs this one anew. */
  readonly redrivenAs?: string
}

/** A call as a list shows it: without its arguments, its result and its errors. */
export interface CallSummary extends CallFacts {
  /** When the last attempt was claimed. */
  readonly startedAt?: Date
  /** The runner of the last attempt. */
  readonly runner?: string
}

/** One attempt of a call, running or ended. */
export interface CallAttempt {
  readonly attempt: number
  readonly fence: number
  readonly runner: string
  readonly startedAt: Date
  readonly endedAt?: Date
  readonly outcome?: AttemptOutcome
  /** What the function threw. */
  readonly error?: unknown
  /** What the plane has to say where the function did not end it. */
  readonly message?: string
}

/** Everything that is known of a call. A value that cannot be read here is the CallplaneError that says why. */
export interface CallRecord extends CallFacts {
  /** Why a pending call does not run. */
  readonly waitingFor?: 'runner' | 'time' | 'limit'
  /** Why it waits or how it ended, for a person. */
  readonly reason?: string
  readonly progress?: unknown
  readonly result?: unknown
  readonly error?: unknown
  /** In their order. */
  readonly attempts: readonly CallAttempt[]
  /** Every step that the job took, in their order; the newest thousand. */
  readonly timeline: readonly CallStep[]
}

/** One step of a job. */
export interface CallStep {
  readonly at: Date
  /** Undefined: the job was made. */
  readonly from?: JobState
  readonly to: JobState
  /** Attempts begun by then. */
  readonly attempt: number
  readonly fence: number
}

export function summaryOf({ createdAt, runAt, startedAt, finishedAt, ...rest }: WireSummary): CallSummary {
  return { ...rest, ...dates({ createdAt, runAt, startedAt, finishedAt }) }
}

export function recordOf({ createdAt, runAt, finishedAt, attempts, timeline, ...rest }: WireStatus): CallRecord {
  return {
    ...rest,
    ...dates({ createdAt, runAt, finishedAt }),
    ...values(rest, 'result', 'error', 'progress'),
    attempts: attempts.map(({ startedAt, endedAt, ...attempt }) => ({
      ...attempt,
      ...dates({ startedAt, endedAt }),
      ...values(attempt, 'error'),
    })),
    timeline: timeline.map(({ at, ...step }) => ({ ...step, at: new Date(at) })),
  }
}

/** The instants as dates; those that are undefined are left out. */
function dates<T extends Record<string, string | undefined>>(instants: T) {
  const known = Object.entries(instants).flatMap(([name, text]) => (text === undefined ? [] : [[name, new Date(text)]]))
  return Object.fromEntries(known) as { [K in keyof T]: undefined extends T[K] ? never : Date } // what is undefined is absent
}

/** The payloads of these properties, decoded. */
function values(from: Record<string, unknown>, ...names: string[]): object {
  const known = names.flatMap((name) => {
    const payload = from[name]
    return payload instanceof Uint8Array ? [[name, valueOf(payload)]] : []
  })
  return Object.fromEntries(known)
}

function valueOf(payload: Uint8Array): unknown {
  try {
    return decodePayload(payload)
  } catch (error) {
    return error instanceof CallplaneError ? error : new CallplaneError('internal', String(error), { cause: error })
  }
}
