// Rows that came and went: what operators hand to each other.
import type { Row } from '../../protocol/relations.ts'
import { aboutBytes, entryBytes } from './bytes.ts'

/** A row and how many more of it there are; negative where it went. */
export type Change = readonly [row: Row, diff: number]

export class Batch {
  readonly rows: Row[] = []
  readonly diffs: number[] = []

  add(row: Row, diff: number): void {
    this.rows.push(row)
    this.diffs.push(diff)
  }

  each(see: (row: Row, diff: number) => void): void {
    const { rows, diffs } = this
    for (let i = 0; i < rows.length; i++) see(rows[i] ?? [], diffs[i] ?? 0)
  }

  get isEmpty(): boolean {
    return this.rows.length === 0
  }
}

export const NOTHING: Batch = new Batch()

/** Rows with how many there are of each; none that are there zero times. */
export class Bag {
  readonly #entries = new Map<string, { row: Row; count: number }>()

  /** Gives the count from before. */
  add(key: string, row: Row, diff: number): number {
    const entry = this.#entries.get(key)
    if (entry === undefined) {
      if (diff !== 0) this.#entries.set(key, { row, count: diff })
      return 0
    }
    const before = entry.count
    entry.count += diff
    if (entry.count === 0) this.#entries.delete(key)
    return before
  }

  count(key: string): number {
    return this.#entries.get(key)?.count ?? 0
  }

  get size(): number {
    return this.#entries.size
  }

  get bytes(): number {
    return aboutBytes(this.#entries, this.size, ([key, { row }]) => entryBytes(key, row, 2))
  }

  each(see: (row: Row, count: number) => void): void {
    for (const { row, count } of this.#entries.values()) see(row, count)
  }

  dump(): [key: string, count: number][] {
    return [...this.#entries].map(([key, { count }]) => [key, count])
  }
}
