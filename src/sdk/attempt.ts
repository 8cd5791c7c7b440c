// One execution of a job: the function runs, and what it returns or throws becomes a report.
import { decodePayload, encodePayload } from '../protocol/codec.ts'
import { encodeThrown } from '../protocol/error-value.ts'
import { CallplaneError, NonRetryableError, type ErrorCode } from '../protocol/errors.ts'
import type { ClaimedJob, Report } from '../protocol/runners.ts'
import { checkArguments } from './arguments.ts'
import { runInCall, type CurrentCall } from './current-call.ts'
import { definitionOf } from './definition.ts'
import { quiet } from './quiet.ts'
import type { Served } from './served.ts'

/** Progress of one attempt goes out at most this often; the last value counts. */
const PROGRESS_EVERY_MS = 500
/** However long the lease: a cancelled call is found out with a heartbeat. */
const MAX_BEAT_MS = 10_000
const MIN_BEAT_MS = 333

/** A job that this process runs, as its runner sees it. */
export class Attempt {
  readonly job: ClaimedJob
  readonly served: Served
  readonly call: CurrentCall
  /** When it needs its next heartbeat, and when its time is over; in the terms of `performance.now()`. */
  beatAtMs: number
  readonly timeoutAtMs: number
  /** Progress that was not sent yet. */
  progress: Uint8Array | null = null
  isLost = false
  readonly #beatEveryMs: number
  readonly #host: AttemptHost
  #progressAtMs = -Infinity
  #isOver = false
  #controller: AbortController | null = null
  #abortReason: CallplaneError | null = null

  constructor(job: ClaimedJob, served: Served, nowMs: number, host: AttemptHost) {
    this.job = job
    this.served = served
    this.#host = host
    // The first lease is short, and no lease outlives the attempt's time; later ones are as the function says.
    const { leaseMs = Infinity } = definitionOf(served.functions.get(job.function)).policy
    this.#beatEveryMs = Math.min(leaseMs / 3, MAX_BEAT_MS)
    this.beatAtMs = nowMs + Math.min(Math.max(job.leaseMs / 3, MIN_BEAT_MS), this.#beatEveryMs)
    this.timeoutAtMs = job.timeoutMs === undefined ? Infinity : nowMs + job.timeoutMs
    this.call = callOf(this)
  }

  get isAborted(): boolean {
    return this.#abortReason !== null
  }

  /** Made when it is asked for: most functions never do. */
  get signal(): AbortSignal {
    if (this.#controller === null) {
      this.#controller = new AbortController()
      if (this.#abortReason !== null) this.#controller.abort(this.#abortReason)
    }
    return this.#controller.signal
  }

  abort(reason: CallplaneError): void {
    if (this.#abortReason !== null || this.#isOver) return
    this.#abortReason = reason
    this.#controller?.abort(reason)
  }

  /** Another attempt may be running by now: what this one still gives is dropped. */
  lose(reason: CallplaneError): void {
    this.isLost = true
    this.abort(reason)
  }

  /** The function has ended. */
  end(): void {
    this.#isOver = true
  }

  setProgress(value: unknown): void {
    if (this.#isOver || this.isLost) return
    this.progress = encodePayload(value, 'progress')
    const dueAtMs = Math.max(performance.now(), this.#progressAtMs + PROGRESS_EVERY_MS)
    this.beatAtMs = Math.min(this.beatAtMs, dueAtMs)
    this.#host.attend(dueAtMs)
  }

  /** Resolves once the lease is renewed. */
  async renew(): Promise<void> {
    if (!this.#isOver) await this.#host.renew(this)
  }

  /** What its heartbeat says, now. The next one is due whether or not this one is answered before. */
  takeBeat(nowMs: number): Beat {
    const { progress } = this
    this.progress = null
    this.beatAtMs = nowMs + this.#beatEveryMs
    if (progress !== null) this.#progressAtMs = nowMs
    return { attempt: this, progress }
  }

  /** The heartbeat did not arrive. */
  giveBack({ progress }: Beat): void {
    this.progress ??= progress
    this.beatAtMs = performance.now()
  }
}

/** What an attempt needs of its runner. */
export interface AttemptHost {
  /** A heartbeat by then. */
  attend(atMs: number): void
  /** A heartbeat now; rejects where the lease is lost. */
  renew(attempt: Attempt): Promise<void>
}

/** A heartbeat under way. */
export interface Beat {
  readonly attempt: Attempt
  readonly progress: Uint8Array | null
}

/** What the function sees of its attempt. Its functions need no `this`: they may be taken out of it. */
function callOf(attempt: Attempt): CurrentCall {
  const { id, attempt: number, fence, parent } = attempt.job
  return {
    id,
    attempt: number,
    fence,
    parent,
    get signal() {
      return attempt.signal
    },
    progress: (value) => attempt.setProgress(value),
    heartbeat: () => quiet(attempt.renew()),
  }
}

/** Runs the function. Never rejects, whatever the function does. */
export async function runAttempt({ job, served, call }: Attempt): Promise<Report> {
  try {
    const fn = served.functions.get(job.function)
    if (fn === undefined)
      throw new CallplaneError('function_not_found', `${job.service} has no function ${job.function}`)
    const sent = decodePayload(job.args)
    if (!Array.isArray(sent)) throw new CallplaneError('invalid_arguments')
    const { input } = definitionOf(fn)
    const args = input === undefined ? sent : await checkArguments(input, sent)
    // Any function may be in a service: whether the arguments fit it is for its schemas, or for itself, to say.
    const value = await runInCall(call, () => fn.apply(served.owner, args as never[]))
    return { ended: 'succeeded', id: job.id, token: job.token, result: encodeResult(value) }
  } catch (thrown) {
    return threwReport(job, thrown)
  }
}

/** What ends a job with an error. */
export function threwReport({ id, token, retryOn }: ClaimedJob, thrown: unknown): Report {
  return { ended: 'threw', id, token, error: encodeThrown(thrown), isRetryable: isRetryable(thrown, retryOn) }
}

function encodeResult(value: unknown): Uint8Array {
  try {
    return encodePayload(value, 'result')
  } catch (cause) {
    if (cause instanceof CallplaneError && cause.code === 'payload_too_large') throw cause
    throw new CallplaneError('result_not_serializable', cause instanceof Error ? cause.message : String(cause), {
      cause,
    })
  }
}

/** Tried again, these would end the same way. */
const NEVER_RETRIED: ReadonlySet<ErrorCode> = new Set([
  'invalid_arguments',
  'result_not_serializable',
  'payload_too_large',
  'function_not_found',
])

/** Whether the job's retry policy covers the error; without a list, the plane knows from the kind of end alone. */
function isRetryable(thrown: unknown, retryOn: readonly string[] | undefined): boolean {
  try {
    if (thrown instanceof NonRetryableError) return false
    if (thrown instanceof CallplaneError && NEVER_RETRIED.has(thrown.code)) return false
    if (retryOn === undefined || retryOn.includes('throw')) return true
    if (typeof thrown !== 'object' || thrown === null) return false
    return ['name', 'code'].some((key) => retryOn.includes(String((thrown as Record<string, unknown>)[key]))) // any object
  } catch {
    return true // What was thrown cannot even be looked at.
  }
}
