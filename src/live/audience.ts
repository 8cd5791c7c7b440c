// Who is interested in a query, at this peer: what each is told, and what is kept for those who read too slowly.
//
//   changes of a tick ──▶ taken in time ── QueryDiff
//                     └─▶ not taken ────── summed ── taken again ──▶ one QueryDiff of the sum
//                                            └─ more than the result ──▶ dropped; taken again ──▶ Reset, Snapshot
import type { LiveResult, RequestId, WireChange, WireRow } from '../protocol/live.ts'
import type { Columns, Row } from '../protocol/relations.ts'
import { Bag, type Change } from './kernel/batch.ts'
import { keyOfRow } from './kernel/values.ts'

/** Bytes that a client may leave unread before its changes are summed. */
const MAX_UNREAD_BYTES = 256 * 1024
/** A sum this small is kept, however small the result is. */
const MIN_SUM_ROWS = 1_000

/** The client's side of an interest. */
export interface Reach {
  send(frame: string): void
  readonly unreadBytes: number
  /** It has gone. */
  readonly isOver: boolean
  /** It is another peer, or this one, which gathers a query from its pieces. */
  readonly isPeer?: boolean
}

/** What a client asks for. */
export interface Interest {
  id: RequestId
  name: string
  granularity?: number
  from?: number
  /** One piece of the query, for a peer, once this one has come to `tick`. */
  piece?: number
  tick?: number
  /** It had been answered before the peer forgot it. */
  isRestored?: boolean
}

/** A query as its audience sees it. */
export interface Result {
  name: string
  columns: Columns
  /** How many rows it has now, each as often as it is there. */
  readonly count: number
  /** They, with how many there are of each. */
  rows(): readonly (readonly [Row, number])[]
  readonly tick: number
}

/** What a tick changed of a result. */
export interface TickChanges {
  tick: number
  changes: readonly Change[]
}

/** One client's interest in one query. */
export class Listener {
  readonly reach: Reach
  readonly id: RequestId
  readonly #granularity: number
  #sum: Bag | null = new Bag()
  /** The last tick that it was told of. */
  #toldTick: number

  constructor(reach: Reach, { id, granularity = 1, tick }: { id: RequestId; granularity?: number; tick: number }) {
    this.reach = reach
    this.id = id
    this.#granularity = granularity
    this.#toldTick = tick
  }

  get isSlow(): boolean {
    return this.#sum === null || (this.#granularity === 1 && this.#sum.size > 0)
  }

  /** Whether there is anything up to the tick that it has not been told, be it that nothing changed. */
  isBehind(tick: number): boolean {
    return this.#toldTick < tick || this.#sum === null || this.#sum.size > 0
  }

  /** With what it can ask again, where all of this is lost: from the tick after which there are changes that it has not. */
  request(tick: number): Omit<Interest, 'name'> {
    const isOwed = this.#sum === null || this.#sum.size > 0
    return { id: this.id, granularity: this.#granularity, from: isOwed ? this.#toldTick : tick }
  }

  /** What changed in a tick; `frame` is that as a frame, made once for all. False: it is held back. */
  tell(result: Result, changes: readonly Change[], frame: () => string): boolean {
    const isBehind = this.#sum === null || this.#sum.size > 0
    if (!isBehind && this.#granularity === 1 && this.reach.unreadBytes <= MAX_UNREAD_BYTES) {
      this.#toldTick = result.tick
      this.reach.send(frame())
      return true
    }
    this.#hold(result, changes)
    return false
  }

  #hold(result: Result, changes: readonly Change[]): void {
    if (this.#sum === null) return
    for (const [row, diff] of changes) this.#sum.add(keyOfRow(row), row, diff)
    const { size } = this.#sum
    if (size > MIN_SUM_ROWS && size > result.count) this.#sum = null
  }

  /**
   * Tells what was held back, if it is time: at a multiple of its granularity, or once the client reads again. Says whether
   * nothing is held back any more.
   */
  catchUp(result: Result, { isIdle = false } = {}): boolean {
    const { tick } = result
    const isClosed = isIdle || Math.floor(tick / this.#granularity) > Math.floor(this.#toldTick / this.#granularity)
    if (!isClosed || this.reach.unreadBytes > MAX_UNREAD_BYTES) return false
    if (this.#sum === null) {
      this.reach.send(frameOf({ Reset: [result.name, 'the client reads too slowly for each change'] }))
      this.snapshot(result)
    } else if (this.#sum.size > 0) {
      const changes: Change[] = []
      this.#sum.each((row, diff) => changes.push([row, diff]))
      this.#sum = new Bag()
      this.reach.send(diffFrame(result, changes, tick, this.reach.isPeer === true ? this.#toldTick : undefined))
      this.#toldTick = tick
    }
    return true
  }

  /** The whole result; what was held back is void. */
  snapshot(result: Result): void {
    this.#sum = new Bag()
    this.#toldTick = result.tick
    this.reach.send(frameOf({ Snapshot: [result.name, snapshotRows(result), result.tick] }))
  }

  /** Changes from before it listened, tick by tick. False: some are held back. */
  replay(result: Result, from: number, past: Iterable<TickChanges>): boolean {
    this.#toldTick = from
    let isTaken = true
    for (const { tick, changes } of past) {
      isTaken &&= this.reach.unreadBytes <= MAX_UNREAD_BYTES
      if (!isTaken) {
        this.#hold(result, changes)
        continue
      }
      this.reach.send(diffFrame(result, changes, tick))
      this.#toldTick = tick
    }
    if (!isTaken) return false
    if (this.reach.isPeer === true) this.progress(result)
    this.#toldTick = result.tick
    return true
  }

  /** That nothing changed, where it has been told nothing for a while. */
  progress({ name, tick }: Result): void {
    if (this.isSlow || tick <= this.#toldTick || this.reach.unreadBytes > MAX_UNREAD_BYTES) return
    this.#toldTick = tick
    this.reach.send(frameOf({ Progress: [name, tick] }))
  }
}

export function frameOf(result: LiveResult): string {
  return JSON.stringify(result)
}

export function diffFrame({ name, columns }: Result, changes: readonly Change[], tick: number, after?: number): string {
  const names = [...columns.keys()]
  const wire = changes.map(([row, diff]): WireChange => [wireRow(names, row), diff])
  return frameOf({ QueryDiff: after === undefined ? [name, wire, tick] : [name, wire, tick, after] })
}

function snapshotRows(result: Result): WireRow[] {
  const names = [...result.columns.keys()]
  return result.rows().flatMap(([row, count]) => Array.from({ length: count }, () => wireRow(names, row)))
}

export function wireRow(names: readonly string[], row: Row): WireRow {
  const wire: WireRow = {}
  for (let place = 0; place < names.length; place++) {
    const value = row[place] ?? null
    wire[names[place] ?? ''] = typeof value === 'bigint' ? String(value) : value
  }
  return wire
}
