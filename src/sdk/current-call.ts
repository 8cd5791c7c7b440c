// The call that a function is running in, found from anywhere below it.
import { CallplaneError } from '../protocol/errors.ts'
import { findAsyncStore, importAsyncStore, type AsyncStore } from './runtime.ts'

/** What a function can know and say about the call that it runs for. */
export interface CurrentCall {
  readonly id: string
  /** Which attempt this is, from 1. */
  readonly attempt: number
  /**
   * Grows with every attempt and every redrive of the call: a store that remembers the highest fence it has seen can
   * refuse the late writes of an attempt that has lost its lease.
   */
  readonly fence: number
  /** Aborts when the attempt has lost its lease (`lease_lost`: stalled or cancelled) or its time is over (`call_timed_out`). */
  readonly signal: AbortSignal
  /** The id of the call whose function made this one. */
  readonly parent: string | undefined
  /** Tells how far the function is; the last value shows in the call's status. Throws `not_serializable`. */
  readonly progress: (value: unknown) => void
  /**
   * Renews the lease now. It is renewed by itself while the event loop turns: needed only before blocking it for long.
   * Rejects with `lease_lost` when the attempt has lost it.
   */
  readonly heartbeat: () => Promise<void>
}

/** Where the runtime has no AsyncLocalStorage: right up to the first await, then there is none. */
class SyncStore<T> implements AsyncStore<T> {
  #current: T | undefined

  run<R>(value: T, callback: () => R): R {
    const outer = this.#current
    this.#current = value
    try {
      return callback()
    } finally {
      this.#current = outer
    }
  }

  getStore(): T | undefined {
    return this.#current
  }
}

let store: AsyncStore<CurrentCall> | null = null

/** Before the first function runs. */
export async function prepareStore(): Promise<void> {
  if (store !== null) return
  const Store = findAsyncStore() ?? (await importAsyncStore()) ?? SyncStore
  store ??= new Store<CurrentCall>()
}

export function runInCall<R>(call: CurrentCall, callback: () => R): R {
  return store === null ? callback() : store.run(call, callback)
}

/** The call of the running function, or undefined outside one. */
export function runningCall(): CurrentCall | undefined {
  return store?.getStore()
}

/** The call that the running function was made by. Throws `no_call` outside one. */
export function currentCall(): CurrentCall {
  const call = runningCall()
  if (call === undefined) throw new CallplaneError('no_call')
  return call
}
