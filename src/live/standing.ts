// A query that runs at this peer under a name: its result, its recent changes for who comes back, and its audience.
import { CallplaneError } from '../protocol/errors.ts'
import type { PeerStatus } from '../protocol/live.ts'
import type { Plan } from '../protocol/plan.ts'
import type { Columns, Row } from '../protocol/relations.ts'
import {
  diffFrame,
  frameOf,
  type Interest,
  type Listener,
  type Reach,
  type Result,
  type TickChanges,
} from './audience.ts'
import { errorFrame } from './fault.ts'
import type { Change } from './kernel/batch.ts'
import type { Dataflow, Query } from './kernel/dataflow.ts'
import type { Load } from './presence.ts'
import type { Ticks } from './ticks.ts'

/** Changed rows that are kept for clients that come back. */
const MAX_KEPT_ROWS = 10_000
/** Rows of one snapshot, each as often as it is there. */
const MAX_SNAPSHOT_ROWS = 100_000
/** Of a piece: what goes from peer to peer may be taken together before a client sees it. */
const MAX_PIECE_ROWS = 500_000

/** Every change of a query after a tick, up to another. */
export interface Past {
  changes: readonly TickChanges[]
  until: number
}

/** What it stands on: a query of this peer's dataflow, or one that is gathered from pieces. */
export interface Running {
  readonly query: Query | null
  readonly columns: Columns
  readonly stopped: CallplaneError | null
  /** Rows and values in all of its operators. */
  readonly held: number
  /** About how much memory these take. */
  readonly bytes: number
  /** How many rows it has, each as often as it is there. */
  readonly count: number
  rows(): [Row, number][]
  end(): void
}

export interface StandingOptions {
  plan: Plan
  /** Which piece of the query it is; null: all of it. */
  piece?: number | null
  running: Running
  ticks: Ticks
}

/** By which a query, or a piece of one, is known among those that run; no query has the name of a piece. */
export function keyOf(name: string, piece: number | null | undefined): string {
  return typeof piece === 'number' ? `${name}#${piece}` : name
}

export class Standing implements Result {
  /** Its key. */
  readonly name: string
  readonly plan: Plan
  /** What brings it here once more. */
  readonly asked: Pick<Interest, 'name' | 'piece'>
  readonly audience = new Map<object, Listener>()
  /** Those of the audience to whom something is owed. */
  readonly #behind = new Set<Listener>()
  /** When the last of the audience left, in the terms of `performance.now()`. */
  idleSinceMs = performance.now()
  readonly running: Running
  /** Up to where it has come, and been told. */
  readonly ticks: Ticks
  /** Every change since, and not including, `#keptFrom`. */
  readonly #kept: TickChanges[] = []
  #keptRows = 0
  #keptFrom: number

  constructor(name: string, { plan, piece = null, running, ticks }: StandingOptions) {
    this.name = keyOf(name, piece)
    this.asked = piece === null ? { name } : { name, piece }
    this.plan = plan
    this.running = running
    this.ticks = ticks
    this.#keptFrom = ticks.now
  }

  get tick(): number {
    return this.ticks.now
  }

  get columns() {
    return this.running.columns
  }

  get stopped(): CallplaneError | null {
    return this.running.stopped
  }

  get held(): number {
    return this.running.held
  }

  get isPiece(): boolean {
    return this.asked.piece !== undefined
  }

  /** Throws where the result cannot be sent whole. */
  checkSendable(): void {
    if (this.stopped !== null) throw this.stopped
    const { count } = this
    if (count <= (this.isPiece ? MAX_PIECE_ROWS : MAX_SNAPSHOT_ROWS)) return
    const message = `the result of ${this.name} has ${count} rows, which are too many to be sent: group them, or take the first`
    throw new CallplaneError('query_stopped', message)
  }

  get count(): number {
    return this.running.count
  }

  rows(): [Row, number][] {
    return this.running.rows()
  }

  /** What changed in this tick. */
  change(changes: readonly Change[]): void {
    this.#kept.push({ tick: this.tick, changes })
    this.#keptRows += changes.length
    while (this.#keptRows > MAX_KEPT_ROWS) {
      const oldest = this.#kept.shift()
      if (oldest === undefined) break
      this.#keptRows -= oldest.changes.length
      this.#keptFrom = oldest.tick
    }
    let frame: string | undefined
    const asFrame = (): string => (frame ??= diffFrame(this, changes, this.tick))
    for (const listener of this.audience.values()) {
      if (!listener.tell(this, changes, asFrame)) this.#behind.add(listener)
    }
  }

  /** To the peers that gather it: up to here it is told. */
  tellPeers(): void {
    if (!this.isPiece) return
    for (const listener of this.audience.values()) if (listener.reach.isPeer === true) listener.progress(this)
  }

  /** What was told of it is void: everybody hears why. */
  reset(reason: string): void {
    for (const { reach } of this.audience.values()) reach.send(frameOf({ Reset: [this.name, reason] }))
  }

  /** The query has stopped: everybody hears why, once. */
  fail(): void {
    for (const { reach, id } of this.audience.values()) reach.send(errorFrame(id, this.stopped))
    this.audience.clear()
    this.idleSinceMs = performance.now()
  }

  /** Tells what was held back to those who may hear it now. */
  catchUp({ isIdle = false } = {}): void {
    for (const listener of this.#behind) {
      const hasLeft = this.audience.get(listener.reach) !== listener
      if (hasLeft || listener.catchUp(this, { isIdle })) this.#behind.delete(listener)
    }
  }

  /** What the log has told of the time before that which is kept, where both meet and there is room for it. */
  remember(from: number, { changes: past, until }: Past): void {
    const older = past.filter(({ tick }) => tick <= this.#keptFrom)
    const rows = older.reduce((sum, { changes }) => sum + changes.length, 0)
    if (from >= this.#keptFrom || until < this.#keptFrom || this.#keptRows + rows > MAX_KEPT_ROWS) return
    this.#kept.unshift(...older)
    this.#keptRows += rows
    this.#keptFrom = from
  }

  /** Tells a client what it missed; what it does not take is owed to it. */
  replay(listener: Listener, from: number, past: Iterable<TickChanges>): void {
    if (!listener.replay(this, from, past)) this.#behind.add(listener)
  }

  /** Something was held back from somebody, or nobody has been told that nothing changed. */
  get isOwing(): boolean {
    return this.#behind.size > 0 || [...this.audience.values()].some((listener) => listener.isBehind(this.tick))
  }

  /** What changed after a tick; null where that is no longer known. */
  since(tick: number): TickChanges[] | null {
    if (tick < this.#keptFrom || tick > this.tick) return null
    return this.#kept.filter((one) => one.tick > tick)
  }
}

/** Those of a client, as it can ask for them again. */
export function interestsOf(reach: Reach, running: Iterable<Standing>): Interest[] {
  return [...running].flatMap(({ asked, audience, tick }) => {
    const listener = audience.get(reach)
    return listener === undefined ? [] : [{ ...asked, ...listener.request(tick) }]
  })
}

/** A query of a dataflow. */
export function runningIn(flow: Dataflow, query: Query): Running {
  return {
    query,
    columns: query.columns,
    get stopped() {
      return query.stopped
    },
    get held() {
      return query.stopped === null ? flow.size(query) : 0
    },
    get bytes() {
      return query.stopped === null ? flow.bytes(query) : 0
    },
    get count() {
      return query.stopped === null ? flow.count(query) : 0
    },
    rows: () => (query.stopped === null ? flow.rows(query) : []),
    end: () => flow.remove(query),
  }
}

export function loadOf({ tick, clients, slowClients, queries }: PeerStatus): Load {
  const sum = (of: 'rows' | 'bytes'): number => queries.reduce((total, query) => total + query[of], 0)
  return { tick, clients, slowClients, queries: queries.length, rows: sum('rows'), bytes: sum('bytes') }
}

/** What each of them holds, and how many clients of theirs are slow. */
export function statusOf(running: readonly Standing[]): Pick<PeerStatus, 'slowClients' | 'queries'> {
  const slow = running.flatMap(({ audience }) => [...audience].filter(([, listener]) => listener.isSlow))
  const queries = running.map((standing) => ({
    name: standing.name,
    clients: standing.audience.size,
    rows: standing.held,
    bytes: standing.running.bytes,
    stopped: standing.stopped?.message ?? null,
  }))
  return { slowClients: new Set(slow.map(([reach]) => reach)).size, queries }
}
