// The caller's side of a plane: makes calls, follows them to their ends, and takes them back.
import { newCallId } from '../protocol/call-id.ts'
import { encodePayload } from '../protocol/codec.ts'
import { CallplaneError } from '../protocol/errors.ts'
import { checkName } from '../protocol/names.ts'
import { checkedCallId } from './call-id.ts'
import { Call, type CallContext } from './call.ts'
import { takeBack } from './cancel.ts'
import { Creates, type NewCall } from './create.ts'
import { runningCall } from './current-call.ts'
import { wrongValue, type CheckedCallOptions } from './options.ts'
import { quiet } from './quiet.ts'
import { RETRY_FOR_MS } from './retry.ts'
import { unref } from './runtime.ts'
import type { Transport } from './transport.ts'
import { Waits } from './wait.ts'

/** After the deadline of a call the plane has so long to tell how it ended. */
const DEADLINE_GRACE_MS = 10_000
const SWEEP_MS = 1_000
/** More than all of a call's fields but its arguments and its retry policy take in a request. */
const CALL_BYTES = 640

/** A function of a service. */
export interface Target {
  readonly service: string
  readonly function: string
}

type BatchItem = Call<unknown> | CallplaneError

export class Caller implements CallContext {
  readonly transport: Transport
  readonly waits: Waits
  readonly #creates: Creates
  #isClosing = false
  #closed: CallplaneError | null = null
  #sweep: ReturnType<typeof setTimeout> | undefined

  constructor(transport: Transport) {
    this.transport = transport
    this.waits = new Waits(transport, () => this.#sweepLater())
    this.#creates = new Creates(transport, this.waits)
  }

  checkOpen(): void {
    // Functions that still run while their plane closes may go on calling others.
    if (this.#closed !== null || (this.#isClosing && runningCall() === undefined)) throw new CallplaneError('closed')
  }

  /** Makes the call and waits for its end. */
  call(target: Target, args: readonly unknown[], options: CheckedCallOptions): Promise<unknown> {
    try {
      this.#checkReady(options)
      const call: NewCall = this.#make(target, args, options, (error) => this.waits.fail(call.request.id, error))
      const { id } = call.request
      const result = quiet(this.waits.expect(id, expiryOf(call)))
      const stop = this.#send([call], options, (reason) => this.waits.fail(id, reason))
      if (options.signal !== undefined) result.then(stop, stop)
      return result
    } catch (error) {
      return quiet(Promise.reject(error))
    }
  }

  /** Makes the call; resolves once it is durable. */
  start(target: Target, args: readonly unknown[], options: CheckedCallOptions): Promise<Call<unknown>> {
    const { promise, resolve, reject } = Promise.withResolvers<Call<unknown>>()
    try {
      this.#checkReady(options)
      this.#send([this.#make(target, args, options, reject, resolve)], options, reject)
    } catch (error) {
      reject(error)
    }
    return quiet(promise)
  }

  /** Makes many; in their order, the call, or the reason why there is none. */
  batch(target: Target, lists: readonly (readonly unknown[])[], options: CheckedCallOptions): Promise<BatchItem[]> {
    const { promise, resolve, reject } = Promise.withResolvers<BatchItem[]>()
    try {
      this.#checkReady(options)
      const calls: NewCall[] = []
      const items = lists.map((args) => this.#makeItem(target, args, options, calls))
      this.#send(calls, options, reject)
      Promise.all(items).then(resolve, reject)
    } catch (error) {
      reject(error)
    }
    return quiet(promise)
  }

  handle(id: string): Call<unknown> {
    return new Call(this, checkedCallId(id))
  }

  /** From here on only functions that still run may make calls. */
  startClosing(): void {
    this.#isClosing = true
  }

  /** Rejects what is still open with `closed`, and everything after it, down to the last request of the plane. */
  close(): void {
    this.#closed = new CallplaneError('closed')
    clearTimeout(this.#sweep)
    this.#creates.shut(this.#closed)
    this.waits.shut(this.#closed)
    this.transport.close(this.#closed)
  }

  /** What concerns a whole request, whatever its arguments. */
  #checkReady({ signal }: CheckedCallOptions): void {
    this.checkOpen()
    this.transport.key()
    signal?.throwIfAborted()
  }

  /** `started` is for those who want the call as soon as it is durable, and not its result. */
  #make(
    target: Target,
    args: readonly unknown[],
    { policy, bytes }: CheckedCallOptions,
    refused: (error: CallplaneError) => void,
    started?: (call: Call<unknown>) => void,
  ): NewCall {
    checkName('function', target.function)
    const payload = encodePayload(args, 'args')
    const parent = runningCall()?.id
    const call: NewCall = {
      request: {
        id: newCallId(),
        ...target,
        args: payload,
        ...policy,
        ...(parent === undefined ? {} : { parent }),
      },
      bytes: payload.length + bytes + CALL_BYTES,
      madeAtMs: performance.now(),
      giveUpAfterMs: policy.deadlineMs ?? RETRY_FOR_MS,
      isOutcomeWanted: started === undefined,
      accepted: () => {
        // Whoever dropped it was told that there is no call: there should be none.
        if (call.isDropped) takeBack(this.transport, [call.request.id])
        else started?.(new Call(this, call.request.id, expiryOf(call)))
      },
      refused,
      sends: 0,
      isDropped: false,
    }
    return call
  }

  /** Adds to `calls`, unless the arguments cannot be sent. */
  #makeItem(
    target: Target,
    args: readonly unknown[],
    options: CheckedCallOptions,
    calls: NewCall[],
  ): Promise<BatchItem> {
    const { promise, resolve } = Promise.withResolvers<BatchItem>()
    try {
      if (!Array.isArray(args)) throw wrongValue('each item of a batch', 'a list of arguments', args)
      calls.push(this.#make(target, args, options, resolve, resolve))
    } catch (cause) {
      const isOurs = cause instanceof CallplaneError
      resolve(isOurs ? cause : new CallplaneError('not_serializable', `args: ${String(cause)}`, { cause }))
    }
    return promise
  }

  /** Sends the calls, and takes them back when the signal aborts. Returns what ends that. */
  #send(calls: readonly NewCall[], { signal }: CheckedCallOptions, reject: (reason: unknown) => void): () => void {
    for (const call of calls) this.#creates.add(call)
    this.#sweepLater()
    const onAbort = () => {
      reject(signal?.reason)
      for (const call of calls) this.waits.fail(call.request.id, signal?.reason)
      const sent = calls.filter((call) => this.#creates.drop(call))
      takeBack(
        this.transport,
        sent.map((call) => call.request.id),
      )
    }
    signal?.addEventListener('abort', onAbort, { once: true })
    return () => signal?.removeEventListener('abort', onAbort)
  }

  /** One timer for all calls, and none while there are none. */
  #sweepLater(): void {
    if (this.#sweep !== undefined || this.#closed !== null) return
    this.#sweep = setTimeout(() => {
      this.#sweep = undefined
      const nowMs = performance.now()
      const hasCreates = this.#creates.sweep(nowMs)
      if (this.waits.sweep(nowMs) || hasCreates) this.#sweepLater()
    }, SWEEP_MS)
    unref(this.#sweep)
  }
}

function expiryOf({ madeAtMs, request: { deadlineMs } }: NewCall): number {
  return deadlineMs === undefined ? Infinity : madeAtMs + deadlineMs + DEADLINE_GRACE_MS
}
