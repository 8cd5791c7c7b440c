// One watch of a query: what a loop pulls, or callbacks are given. What comes meanwhile waits as one sum.
import type { Shown } from './live-rows.ts'
import type { LiveChange, WatchCallbacks } from './live-types.ts'
import type { Counted, View, Viewer } from './live-view.ts'

type Step = IteratorResult<LiveChange<object>, undefined>

const DONE: Step = { done: true, value: undefined }

export type Callbacks = Partial<WatchCallbacks<unknown>>

export class Watch implements Viewer {
  readonly pending: Counted = new Map()
  readonly #view: View
  readonly #shown: Shown
  readonly #callbacks: Callbacks
  readonly #left: () => void
  readonly #readers: PromiseWithResolvers<Step>[] = []
  #isFirst = true
  #isOver = false
  /** What the loop has still to throw. */
  #failure: { readonly error: unknown } | undefined

  /** `left` is called once, at its end. Begins at once where there are callbacks for changes. */
  constructor(view: View, shown: Shown, callbacks: Callbacks, left: () => void) {
    this.#view = view
    this.#shown = shown
    this.#callbacks = callbacks
    this.#left = left
    view.add(this)
    callbacks.signal?.addEventListener('abort', this.#onAbort, { once: true })
    if (callbacks.signal?.aborted) this.#onAbort()
    if (callbacks.onChange !== undefined) void this.#follow(callbacks.onChange)
  }

  /** One that waits already is answered first. */
  next(): Promise<Step> {
    const reader = Promise.withResolvers<Step>()
    this.#readers.push(reader)
    this.wake()
    return reader.promise
  }

  async return(): Promise<Step> {
    this.#failure = undefined
    this.end()
    return DONE
  }

  wake(): void {
    for (;;) {
      const isReady = !this.#view.isVoid && (this.#isFirst || this.pending.size > 0)
      if (!isReady && !this.#isOver) return
      const reader = this.#readers.shift()
      if (reader === undefined) return
      const failure = this.#failure
      this.#failure = undefined
      if (failure !== undefined) reader.reject(failure.error)
      else reader.resolve(this.#isOver ? DONE : { done: false, value: this.#take() })
    }
  }

  reset(reason: string): void {
    void this.#guard(() => this.#callbacks.onReset?.(reason))
  }

  /** In good order. */
  end(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.pending.clear()
    this.#callbacks.signal?.removeEventListener('abort', this.#onAbort)
    this.#view.viewers.delete(this)
    this.#left()
    this.wake()
  }

  fail(error: unknown): void {
    if (this.#isOver) return
    this.#failure = { error }
    this.end()
  }

  readonly #onAbort = (): void => {
    const { onChange, signal } = this.#callbacks
    if (onChange === undefined) this.fail(signal?.reason)
    else this.end()
  }

  #take(): LiveChange<object> {
    const diffs = Array.from(this.pending.values(), ({ row, count }) => [this.#shown.row(row), count] as const)
    this.pending.clear()
    this.#isFirst = false
    return { tick: this.#view.tick ?? 0, rows: this.#shown.rows(this.#view.rows), diffs }
  }

  /** Never rejects. */
  async #follow(onChange: (change: LiveChange<object>) => unknown): Promise<void> {
    try {
      for (let step = await this.next(); !step.done; step = await this.next()) {
        await this.#guard(() => onChange(step.value))
      }
    } catch (error) {
      try {
        this.#callbacks.onError?.(error)
      } catch {} // A watch must not end the process.
    }
  }

  /** What a callback throws ends the watch, unless that is over. */
  async #guard(callback: () => unknown): Promise<void> {
    try {
      await callback()
    } catch (error) {
      this.fail(error)
    }
  }
}
