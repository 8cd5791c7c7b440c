// How far a peer has come in a log, who waits for it to come further, and what changed meanwhile for who must catch up.
import type { RelationChange } from './kernel/dataflow.ts'

/** What changed in each tick since the recording began. */
export interface Recording {
  after(tick: number): RelationChange[]
  stop(): void
}

export class Ticks {
  #now = 0
  readonly #waiters = new Set<{ tick: number; resolve: () => void }>()
  readonly #recordings = new Set<{ tick: number; changes: readonly RelationChange[] }[]>()

  get now(): number {
    return this.#now
  }

  /** Begins at a tick, without what led there: recordings of before have a hole. */
  begin(tick: number): void {
    this.#now = tick
    this.#recordings.clear()
    this.#wake()
  }

  /** A tick is about to be taken in. */
  move(tick: number, changes: readonly RelationChange[]): void {
    this.#now = tick
    for (const recorded of this.#recordings) recorded.push({ tick, changes })
  }

  /** The tick has been taken in. */
  moved(): void {
    this.#wake()
  }

  record(): Recording {
    const recorded: { tick: number; changes: readonly RelationChange[] }[] = []
    this.#recordings.add(recorded)
    return {
      after: (tick) => recorded.filter((one) => one.tick > tick).flatMap(({ changes }) => changes),
      stop: () => this.#recordings.delete(recorded),
    }
  }

  /** Resolves once the tick has been taken in, or the peer closes. */
  async until(tick: number): Promise<void> {
    if (this.#now >= tick) return
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#waiters.add({ tick, resolve })
    await promise
  }

  close(): void {
    this.#now = Infinity
    this.#wake()
  }

  #wake(): void {
    for (const waiter of this.#waiters) {
      if (waiter.tick > this.#now) continue
      this.#waiters.delete(waiter)
      waiter.resolve()
    }
  }
}
