// Calls as a program makes them through the SDK, each with its line in the history.
import { Callplane, CallplaneError, type Call, type CallOptions } from 'callplane'
import type { History } from './history.ts'
import type { Work, Worked } from './work.ts'

/** What the plane says of a call that it has. Any other error leaves open whether it has it. */
const ENDS: ReadonlySet<string> = new Set(['call_timed_out', 'call_stalled', 'call_expired', 'call_cancelled'])

export type WorkFunction = keyof Work['functions']

export interface CallerHost {
  history: History
  nextCall(): number
}

export class Caller {
  readonly #host: CallerHost
  readonly #plane: Callplane
  readonly #work
  readonly #numbers = new WeakMap<Call<Worked>, number>()
  /** Calls that have not been told their end. */
  waiting = 0
  /** When each call ended well, by Date.now(). */
  readonly okAtMs: number[] = []

  constructor(host: CallerHost, url: string, key: string) {
    this.#host = host
    this.#plane = new Callplane({ url, key })
    this.#work = this.#plane.client<Work>('work')
  }

  /** Makes a call and waits for its end: in one request. Never rejects. */
  async run(name: WorkFunction, ms = 0, options: CallOptions = {}): Promise<void> {
    const call = this.#invoke()
    await this.#follow(call, () => this.#work[name].with(options)(call, ms))
  }

  /** Makes a call; once it is accepted, its end is followed apart. Never rejects; null where nothing was accepted. */
  async start(name: WorkFunction, ms = 0, options: CallOptions = {}): Promise<Call<Worked> | null> {
    const call = this.#invoke()
    try {
      const started = await this.#work[name].with(options).start(call, ms)
      this.#accepted(call, started)
      return started
    } catch (error) {
      this.#ended(call, error)
      return null
    }
  }

  /** Makes many calls in few requests; their ends are followed apart, or by nobody. Never rejects. */
  async batch(name: WorkFunction, count: number, ms = 0, { isFollowed = true } = {}): Promise<void> {
    const numbers = Array.from({ length: count }, () => this.#invoke())
    const items = await this.#work[name].batch(numbers.map((call): [number, number] => [call, ms]))
    for (const [index, item] of items.entries()) {
      const call = numbers[index] ?? 0
      if (item instanceof CallplaneError) this.#ended(call, item)
      else this.#accepted(call, item, isFollowed)
    }
  }

  /** Takes back a call that it started. Never rejects. */
  async cancel(started: Call<Worked>): Promise<void> {
    const call = this.#numbers.get(started) ?? 0
    const state = await started.cancel().catch(() => null)
    if (state !== null) this.#host.history.write({ kind: 'cancel', call, state })
  }

  /** So many calls a second, whatever becomes of them, until the signal aborts. */
  async offer(perSecond: number, signal: AbortSignal, make: (caller: Caller) => Promise<unknown>): Promise<void> {
    const startedMs = performance.now()
    for (let made = 0; !signal.aborted;) {
      const due = ((performance.now() - startedMs) / 1_000) * perSecond
      for (; made < due; made++) void make(this)
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }

  async close(): Promise<void> {
    await this.#plane.close()
  }

  #invoke(): number {
    const call = this.#host.nextCall()
    this.#host.history.write({ kind: 'invoke', call })
    this.waiting++
    return call
  }

  #accepted(call: number, started: Call<Worked>, isFollowed = true): void {
    this.#numbers.set(started, call)
    this.#host.history.write({ kind: 'accepted', call, id: started.id })
    if (isFollowed) return void this.#follow(call, () => started.result())
    this.waiting--
    this.#host.history.write({ kind: 'unknown', call, code: 'nobody asked' })
  }

  async #follow(call: number, wait: () => Promise<Worked>): Promise<void> {
    try {
      const { fence } = await wait()
      this.waiting--
      this.okAtMs.push(Date.now())
      this.#host.history.write({ kind: 'ok', call, fence })
    } catch (error) {
      this.#ended(call, error)
    }
  }

  #ended(call: number, error: unknown): void {
    this.waiting--
    const code = error instanceof CallplaneError ? error.code : 'threw'
    const isEnd = ENDS.has(code) || !(error instanceof CallplaneError)
    this.#host.history.write({ kind: isEnd ? 'fail' : 'unknown', call, code })
  }
}
