// The result of one query as this client holds it: its rows, and for each watch the sum of the changes that it has not taken.
import type { WireChange, WireRow } from '../protocol/live.ts'

/** Rows by their values, each with how often it is there, or came and went. */
export type Counted = Map<string, { readonly row: WireRow; count: number }>

/** What a view tells those who watch it. */
export interface Viewer {
  readonly pending: Counted
  wake(): void
  reset(reason: string): void
  end(): void
  fail(error: unknown): void
}

export class View {
  readonly name: string
  readonly viewers: Set<Viewer> = new Set()
  /** Of what is known; undefined before the first snapshot. */
  tick: number | undefined
  /** The id of the request that asked for it, on the connection that is open. */
  interest = 0
  /** What was told before no longer holds, and a snapshot is due. */
  isVoid = true
  #rows: Counted = new Map()
  #list: readonly WireRow[] | undefined

  constructor(name: string) {
    this.name = name
  }

  /** Each row as often as it is there; one list for all until it changes. */
  get rows(): readonly WireRow[] {
    return (this.#list ??= [...this.#rows.values()].flatMap(({ row, count }) =>
      Array.from({ length: count }, () => row),
    ))
  }

  add(viewer: Viewer): void {
    this.viewers.add(viewer)
    for (const [key, { row, count }] of this.#rows) addTo(viewer.pending, key, row, count)
  }

  /** The whole result. Who watches is told how it differs from what was there. */
  snapshot(rows: readonly WireRow[], tick: number): void {
    const changes: Counted = new Map()
    for (const row of rows) addTo(changes, keyOf(row), row, 1)
    for (const [key, { row, count }] of this.#rows) addTo(changes, key, row, -count)
    this.isVoid = false
    this.#apply(changes, tick)
  }

  /** What was told already changes nothing. What comes before a snapshot that is due is part of it. */
  change(changes: readonly WireChange[], tick: number): void {
    if (!this.#isNew(tick)) return
    const counted: Counted = new Map()
    for (const [row, diff] of changes) addTo(counted, keyOf(row), row, diff)
    this.#apply(counted, tick)
  }

  progress(tick: number): void {
    if (this.#isNew(tick)) this.tick = tick
  }

  reset(reason: string): void {
    this.isVoid = true
    for (const viewer of this.viewers) viewer.reset(reason)
  }

  /** Each takes itself off the list. */
  fail(error: unknown): void {
    for (const viewer of this.viewers) viewer.fail(error)
  }

  end(): void {
    for (const viewer of this.viewers) viewer.end()
  }

  #isNew(tick: number): boolean {
    return (this.tick ?? -1) < tick
  }

  #apply(changes: Counted, tick: number): void {
    this.tick = tick
    if (changes.size > 0) this.#list = undefined
    for (const [key, { row, count }] of changes) addTo(this.#rows, key, row, count)
    for (const viewer of this.viewers) {
      for (const [key, { row, count }] of changes) addTo(viewer.pending, key, row, count)
      viewer.wake()
    }
  }
}

/** What adds up to nothing is gone, so that a sum is never larger than the results that it lies between. */
function addTo(counted: Counted, key: string, row: WireRow, diff: number): void {
  const count = (counted.get(key)?.count ?? 0) + diff
  if (count === 0) counted.delete(key)
  else counted.set(key, { row, count })
}

/** The same for equal rows, in whichever order a peer writes their columns. */
function keyOf(row: WireRow): string {
  const names = Object.keys(row).toSorted()
  return JSON.stringify(names.map((name) => [name, row[name]]))
}
