// Transactions that were given for a later time: they wait here in the order of their times, and of the log where these are
// equal.
import { SortedBag } from './kernel/sorted-bag.ts'

interface Waiting<T> {
  atMs: number
  number: number
  changes: readonly T[]
}

export class FutureChanges<T> {
  readonly #waiting = new SortedBag<Waiting<T>>({
    compare: (a, b) => a.atMs - b.atMs || a.number - b.number,
    rank: ({ atMs }) => atMs,
  })
  #number = 0
  #size = 0

  /** Changes in all of the transactions. */
  get size(): number {
    return this.#size
  }

  /** When the first of them comes; null: nothing waits. */
  get nextMs(): number | null {
    return this.#waiting.first()?.atMs ?? null
  }

  /** The transactions in the order in which they come. */
  get waiting(): readonly { atMs: number; changes: readonly T[] }[] {
    const all: Waiting<T>[] = []
    this.#waiting.each((one) => all.push(one) > 0)
    return all
  }

  add(atMs: number, changes: readonly T[]): void {
    this.#waiting.add({ atMs, number: ++this.#number, changes }, 1)
    this.#size += changes.length
  }

  /** The transactions up to a time, which wait no more. */
  take(untilMs: number): (readonly T[])[] {
    const taken: (readonly T[])[] = []
    for (let first = this.#waiting.first(); first !== undefined && first.atMs <= untilMs;) {
      this.#waiting.add(first, -1)
      this.#size -= first.changes.length
      taken.push(first.changes)
      first = this.#waiting.first()
    }
    return taken
  }
}
