// The handle of one call: wait for it, cancel it, ask how it stands. It needs no more than the id, in whichever process.
import { decodePayload } from '../protocol/codec.ts'
import type { JobState } from '../protocol/job.ts'
import { cancelCall } from './cancel.ts'
import { quiet } from './quiet.ts'
import { untilAnswered } from './retry.ts'
import { getCallRoute } from './routes.ts'
import type { Transport } from './transport.ts'
import type { Waits } from './wait.ts'

/** How a call stands. */
export interface CallStatus {
  readonly id: string
  readonly state: JobState
  /** Attempts begun so far. */
  readonly attempt: number
  /** Why a pending call does not run: no runner takes it, its time has not come, or a limit holds it back. */
  readonly waitingFor?: 'runner' | 'time' | 'limit'
  /** The earliest start of the next attempt. */
  readonly runAt?: Date
  /** The last value that the function gave to `progress`. */
  readonly progress?: unknown
  /** What the function threw, where that ended the call. */
  readonly error?: unknown
  /** Why it waits or how it ended, for a person. */
  readonly reason?: string
}

/** What a handle works with. */
export interface CallContext {
  readonly transport: Transport
  readonly waits: Waits
  /** Throws `closed` after `plane.close()`. */
  checkOpen(): void
}

/** A call that was made. `Result` is what its function returns. */
export class Call<Result> {
  /** A UUIDv7. In another process, `plane.call(id)` and `mail.greet.handle(id)` make a handle from it. */
  readonly id: string
  readonly #context: CallContext
  readonly #expiresAtMs: number
  #result: Promise<Result> | undefined

  constructor(context: CallContext, id: string, expiresAtMs: number = Infinity) {
    this.id = id
    this.#context = context
    this.#expiresAtMs = expiresAtMs
  }

  /**
   * Waits, as calling the function does, and through any outage of the plane. May be asked as often as one likes.
   * `not_found`: no such call, or it ended so long ago that it is forgotten.
   */
  result(): Promise<Result> {
    return (this.#result ??= quiet(this.#wait()) as Promise<Result>) // the function of this call returned it
  }

  /**
   * Cancels the call unless it has ended, and resolves with the state that it is in then: 'cancelled', or the end that
   * came first. A function that runs learns of it with its next heartbeat, by `currentCall().signal`.
   */
  cancel(reason?: string): Promise<JobState> {
    return quiet(this.#cancel(reason))
  }

  async #cancel(reason: string | undefined): Promise<JobState> {
    this.#context.checkOpen()
    return cancelCall(this.#context.transport, this.id, reason)
  }

  /** How the call stands now. `not_found`: no such call. */
  status(): Promise<CallStatus> {
    return quiet(this.#status())
  }

  async #status(): Promise<CallStatus> {
    this.#context.checkOpen()
    const { transport } = this.#context
    const route = getCallRoute(this.id)
    const status = await untilAnswered(transport, () => transport.get(route))
    const { id, state, attempt, waitingFor, runAt, progress, error, reason } = status
    return {
      id,
      state,
      attempt,
      ...(waitingFor === undefined ? {} : { waitingFor }),
      ...(runAt === undefined ? {} : { runAt: new Date(runAt) }),
      ...(progress === undefined ? {} : { progress: valueOf(progress) }),
      ...(error === undefined ? {} : { error: valueOf(error) }),
      ...(reason === undefined ? {} : { reason }),
    }
  }

  async #wait(): Promise<unknown> {
    this.#context.checkOpen()
    return this.#context.waits.result(this.id, this.#expiresAtMs)
  }
}

function valueOf(payload: unknown): unknown {
  return payload instanceof Uint8Array ? decodePayload(payload) : payload
}
