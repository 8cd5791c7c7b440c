// Waiting for calls to end. An outcome comes over a stream: that of the request that made the call, or, when that one
// has ended, of a request that waits for all that is left.
//
//   create ──▶ stream ── outcome ──▶ settled
//                 │ cut, over, or older than a second while there are others
//                 ▼
//            unattended ──(one tick)──▶ wait ──▶ stream ──▶ …
//
// Streams that live longer are merged into one, so that calls that take their time cost one open request together.
import type { CallFrame } from '../protocol/calls.ts'
import { CallplaneError, fromWireError } from '../protocol/errors.ts'
import type { CallOutcome } from '../protocol/job.ts'
import { MAX_BATCH, MAX_WAIT_MS } from '../protocol/limits.ts'
import { Backoff } from './backoff.ts'
import { gatherer } from './gather.ts'
import { resultOf } from './outcome.ts'
import { WAIT_CALLS } from './routes.ts'
import { isPassing, Unanswered, type Transport } from './transport.ts'

/** A stream younger than this may well end by itself. */
const MERGE_AFTER_MS = 1_000
/** An answer without news that comes sooner than this was no wait: the next one must not follow at once. */
const TOO_SOON_MS = 100

interface Wanted {
  promise: Promise<unknown>
  resolve: (value: unknown) => void
  reject: (reason: unknown) => void
  /** When the deadline of the call is over for good, by the local clock. */
  expiresAtMs: number
}

/** A request whose answer tells of the ends of calls. */
export interface OutcomeStream {
  readonly controller: AbortController
  readonly openedAtMs: number
  /** Calls that someone waits for and that have not ended. */
  readonly open: Set<string>
  /** Whether the plane was asked for other calls too, so that the answer goes on when `open` is empty. */
  readonly hasOthers: boolean
  /** Whether its calls are known to exist: only then can another request wait for them. */
  isAccepted: boolean
  isMoved: boolean
}

export class Waits {
  readonly #transport: Transport
  readonly #backoff: Backoff
  readonly #notify: () => void
  readonly #wanted = new Map<string, Wanted>()
  readonly #streams = new Set<OutcomeStream>()
  /** Wanted, in no stream, until the pause after a failure is over. */
  readonly #unattended = new Set<string>()
  readonly #attend = gatherer<string>((ids) => this.#attendAll(ids))
  #pause: ReturnType<typeof setTimeout> | undefined

  /** `wanted`: from here on `sweep` is to be called now and then. */
  constructor(transport: Transport, wanted: () => void) {
    this.#transport = transport
    this.#backoff = new Backoff(transport.budget)
    this.#notify = wanted
  }

  /** The result of a call that a request of its own is about to make. */
  expect(id: string, expiresAtMs: number): Promise<unknown> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>()
    this.#wanted.set(id, { promise, resolve, reject, expiresAtMs })
    this.#notify()
    return promise
  }

  /** The result of a call that exists. */
  result(id: string, expiresAtMs: number): Promise<unknown> {
    const known = this.#wanted.get(id)
    if (known !== undefined) return known.promise
    const promise = this.expect(id, expiresAtMs)
    this.#attend(id)
    return promise
  }

  /** Ends the wait for a call, with whatever reason. */
  fail(id: string, reason: unknown): void {
    this.#wanted.get(id)?.reject(reason)
    this.#forget(id)
    for (const stream of this.#streams) if (stream.open.delete(id)) this.#endIfIdle(stream)
  }

  /** From here on the frames of a request tell of these calls. */
  open(ids: Iterable<string>, { isAccepted, hasOthers }: { isAccepted: boolean; hasOthers: boolean }): OutcomeStream {
    const stream: OutcomeStream = {
      controller: new AbortController(),
      openedAtMs: performance.now(),
      open: new Set(ids),
      hasOthers,
      isAccepted,
      isMoved: false,
    }
    this.#streams.add(stream)
    return stream
  }

  /** The calls of the stream exist. */
  accept(stream: OutcomeStream): void {
    stream.isAccepted = true
    this.#endIfIdle(stream)
  }

  receive(stream: OutcomeStream, frame: CallFrame): void {
    if ('outcome' in frame) this.#settle(frame.id, frame.outcome)
    else if ('error' in frame) {
      const error = fromWireError(frame.error)
      // A fault of the plane says nothing about the call: it stays wanted, and the end of the stream finds it.
      if (isPassing(error)) return
      this.fail(frame.id, error)
    } else return
    stream.open.delete(frame.id)
    this.#endIfIdle(stream)
  }

  /**
   * The request has ended. Those of its calls that have not, and that exist, are waited for by another: after a pause
   * where `failure` says so.
   */
  close(stream: OutcomeStream, failure: Unanswered | null): void {
    this.#streams.delete(stream)
    if (stream.isMoved || !stream.isAccepted || stream.open.size === 0) return
    if (failure !== null) this.#pauseFor(this.#backoff.failed(failure.retryAfterMs))
    for (const id of stream.open) this.#attend(id)
  }

  /** Accepted calls are waited for through any outage, until their deadline. Whether there is more to sweep. */
  sweep(nowMs: number): boolean {
    for (const [id, { expiresAtMs }] of this.#wanted) {
      if (nowMs > expiresAtMs) {
        this.fail(id, new CallplaneError('call_expired'))
      }
    }
    this.#mergeStreams(nowMs)
    return this.#wanted.size > 0
  }

  /** The streams end with the transport. */
  shut(closed: CallplaneError): void {
    clearTimeout(this.#pause)
    this.#unattended.clear()
    for (const { reject } of this.#wanted.values()) reject(closed)
    this.#wanted.clear()
  }

  #settle(id: string, outcome: CallOutcome): void {
    const wanted = this.#wanted.get(id)
    if (wanted === undefined) return
    this.#forget(id)
    try {
      wanted.resolve(resultOf(outcome))
    } catch (thrown) {
      wanted.reject(thrown)
    }
  }

  #forget(id: string): void {
    this.#wanted.delete(id)
    this.#unattended.delete(id)
  }

  /** Nobody waits for what a stream may still tell. One that is about to say its last is let finish: it can be reused. */
  #endIfIdle(stream: OutcomeStream): void {
    if (stream.open.size > 0 || !stream.hasOthers || !stream.isAccepted) return
    stream.isMoved = true
    stream.controller.abort()
  }

  #mergeStreams(nowMs: number): void {
    const settled = [...this.#streams].filter(
      (stream) => stream.isAccepted && nowMs - stream.openedAtMs >= MERGE_AFTER_MS && stream.open.size <= MAX_BATCH / 2,
    )
    if (settled.length < 2) return
    for (const stream of settled) {
      stream.isMoved = true
      stream.controller.abort()
      for (const id of stream.open) this.#attend(id)
    }
  }

  #attendAll(ids: Iterable<string>): void {
    for (const id of ids) if (this.#wanted.has(id)) this.#unattended.add(id)
    if (this.#pause === undefined) this.#attendNow()
  }

  #attendNow(): void {
    const ids = [...this.#unattended]
    this.#unattended.clear()
    for (let start = 0; start < ids.length; start += MAX_BATCH) void this.#wait(ids.slice(start, start + MAX_BATCH))
  }

  #pauseFor(ms: number): void {
    this.#pause ??= setTimeout(() => {
      this.#pause = undefined
      this.#attendNow()
    }, ms)
  }

  /** Never rejects. */
  async #wait(ids: string[]): Promise<void> {
    const stream = this.open(ids, { isAccepted: true, hasOthers: false })
    const patience = { waitMs: MAX_WAIT_MS, controller: stream.controller }
    try {
      const onFrame = (frame: CallFrame) => this.receive(stream, frame)
      await this.#transport.stream(WAIT_CALLS, { ids, waitMs: MAX_WAIT_MS }, onFrame, patience)
      const isTooSoon = stream.open.size > 0 && performance.now() - stream.openedAtMs < TOO_SOON_MS
      if (!isTooSoon) this.#backoff.succeeded()
      this.close(stream, isTooSoon ? new Unanswered('not now') : null)
    } catch (error) {
      if (error instanceof Unanswered) return this.close(stream, error)
      // Refused: to wait longer does not help.
      this.#streams.delete(stream)
      for (const id of stream.open) this.fail(id, error)
    }
  }
}
