// The rows of a query as they stand, and what a tick changed of them.
import type { ColumnType, Row } from '../../protocol/relations.ts'
import type { Batch, Change } from './batch.ts'
import { aboutBytes, entryBytes } from './bytes.ts'
import { loadBag, type State } from './operator.ts'
import { keyOfRow } from './values.ts'

interface Entry {
  key: string
  row: Row
  count: number
  /** How many more there are than before the tick. */
  diff: number
  isTouched: boolean
}

export class Output {
  readonly #entries = new Map<string, Entry>()

  get size(): number {
    return this.#entries.size
  }

  get bytes(): number {
    return aboutBytes(this.#entries, this.size, ([key, { row }]) => entryBytes(key, row, 5))
  }

  /** Adds the changes up: each row once, those that cancel out left out, in an order that is the same at every peer. */
  take(batch: Batch): Change[] {
    const touched: Entry[] = []
    batch.each((row, diff) => {
      const entry = this.#entryOf(row)
      entry.count += diff
      entry.diff += diff
      if (entry.isTouched) return
      entry.isTouched = true
      touched.push(entry)
    })
    const changed = touched.filter(({ diff }) => diff !== 0).toSorted((a, b) => (a.key < b.key ? -1 : 1))
    const changes = changed.map(({ row, diff }): Change => [row, diff])
    for (const entry of touched) {
      entry.diff = 0
      entry.isTouched = false
      if (entry.count === 0) this.#entries.delete(entry.key)
    }
    return changes
  }

  each(see: (row: Row, count: number) => void): void {
    for (const { row, count } of this.#entries.values()) see(row, count)
  }

  dump(): State {
    return [...this.#entries].map(([key, { count }]) => [key, count])
  }

  load(state: State | undefined, types: readonly ColumnType[]): void {
    loadBag(state, types, (row, count) => void (this.#entryOf(row).count = count))
  }

  #entryOf(row: Row): Entry {
    const key = keyOfRow(row)
    const known = this.#entries.get(key)
    if (known !== undefined) return known
    const entry = { key, row, count: 0, diff: 0, isTouched: false }
    this.#entries.set(key, entry)
    return entry
  }
}
