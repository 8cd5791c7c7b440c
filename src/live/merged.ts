// The rows of a query that runs in pieces, as the peer has them that its clients are connected to.
import { CallplaneError } from '../protocol/errors.ts'
import type { Columns, ColumnType, Row } from '../protocol/relations.ts'
import { Bag, Batch, type Change } from './kernel/batch.ts'
import { Dataflow, sourcesOf, type Query } from './kernel/dataflow.ts'
import { Output } from './kernel/output.ts'
import { compareRows, keyOfRow } from './kernel/values.ts'
import { PIECES, type DividedPlan } from './shard-plan.ts'

export class Merged {
  /** What each piece gives. Kept apart, so that another peer can take a piece over. */
  #pieces: Bag[]
  readonly #maxRows: number
  readonly #given: Columns
  /** Null: what the pieces give is the result. */
  readonly #merge: { flow: Dataflow; query: Query } | null
  #count = 0
  #stopped: CallplaneError | null = null

  constructor({ merge, relations }: DividedPlan, { shards, maxRows }: { shards: number; maxRows: number }) {
    this.#pieces = Array.from({ length: shards }, () => new Bag())
    this.#maxRows = maxRows
    this.#given = relations.get(PIECES) ?? new Map<string, ColumnType>()
    if (merge === null) this.#merge = null
    else {
      const flow = new Dataflow({ relations, maxRows, nowMs: 0 })
      const nothing = sourcesOf(merge, relations).map(({ text }) => [text, []] as const)
      this.#merge = { flow, query: flow.add(merge, new Map(nothing)) }
    }
  }

  /** Of the rows that the pieces give. */
  get given(): Columns {
    return this.#given
  }

  get columns(): Columns {
    return this.#merge?.query.columns ?? this.#given
  }

  get stopped(): CallplaneError | null {
    return this.#stopped
  }

  /** Rows and values, those of the pieces too. */
  get held(): number {
    if (this.#stopped !== null) return 0
    const given = this.#pieces.reduce((sum, bag) => sum + bag.size, 0)
    return this.#merge === null ? given : given + this.#merge.flow.size(this.#merge.query)
  }

  /** About how much memory these take. */
  get bytes(): number {
    if (this.#stopped !== null) return 0
    const given = this.#pieces.reduce((sum, bag) => sum + bag.bytes, 0)
    return Math.round(this.#merge === null ? given : given + this.#merge.flow.bytes(this.#merge.query))
  }

  /** How many rows it has, each as often as it is there. */
  get count(): number {
    if (this.#stopped !== null) return 0
    return this.#merge === null ? this.#count : this.#merge.flow.count(this.#merge.query)
  }

  /** In the order in which one peer has them. */
  rows(): [Row, number][] {
    if (this.#stopped !== null) return []
    if (this.#merge !== null) return this.#merge.flow.rows(this.#merge.query)
    const all = new Bag()
    for (const piece of this.#pieces) piece.each((row, count) => all.add(keyOfRow(row), row, count))
    const rows: [Row, number][] = []
    all.each((row, count) => rows.push([row, count]))
    const order = compareRows([], this.#given.size)
    return rows.toSorted(([a], [b]) => order(a, b))
  }

  /** What a piece gives, as a row's text → how often. */
  piece(at: number): Bag {
    return this.#pieces[at] ?? new Bag()
  }

  /** What changed in the pieces, by their numbers; answers what that changes of the result, in the order of the kernel. */
  take(changed: Iterable<readonly [at: number, changes: readonly Change[]]>): Change[] {
    if (this.#stopped !== null) return []
    const batch = new Batch()
    for (const [at, changes] of changed) {
      const piece = this.piece(at)
      for (const [row, diff] of changes) {
        piece.add(keyOfRow(row), row, diff)
        batch.add(row, diff)
      }
    }
    const result = this.#merge === null ? this.#add(batch) : this.#step(this.#merge, batch)
    if (this.held > this.#maxRows) {
      const message = `the query was stopped: it holds more than ${this.#maxRows} rows`
      this.stop(new CallplaneError('query_stopped', message))
    }
    return this.#stopped === null ? result : []
  }

  /** It holds nothing from here on. */
  stop(error: CallplaneError): void {
    this.#stopped ??= error
    this.#pieces = []
  }

  #add(batch: Batch): Change[] {
    const changes = new Output().take(batch)
    for (const [, diff] of changes) this.#count += diff
    return changes
  }

  #step({ flow, query }: { flow: Dataflow; query: Query }, batch: Batch): Change[] {
    flow.apply(batch.rows.map((row, place) => ({ relation: PIECES, row, diff: batch.diffs[place] ?? 0 })))
    const changes = flow.flush().changes.get(query) ?? []
    if (query.stopped !== null) this.stop(query.stopped)
    return changes
  }
}
