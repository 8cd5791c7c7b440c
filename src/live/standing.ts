// A query that runs at this peer under a name: its result, its recent changes for who comes back, and its audience.
import { CallplaneError } from '../protocol/errors.ts'
import type { PeerStatus } from '../protocol/live.ts'
import type { Plan } from '../protocol/plan.ts'
import type { Row } from '../protocol/relations.ts'
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

/** Every change of a query after a tick, up to another. */
export interface Past {
  changes: readonly TickChanges[]
  until: number
}

export class Standing implements Result {
  readonly name: string
  readonly plan: Plan
  readonly audience = new Map<object, Listener>()
  /** Those of the audience to whom something is owed. */
  readonly #behind = new Set<Listener>()
  /** When the last of the audience left, in the terms of `performance.now()`. */
  idleSinceMs = performance.now()
  readonly #flow: Dataflow
  readonly #ticks: Ticks
  readonly query: Query
  /** Every change since, and not including, `#keptFrom`. */
  readonly #kept: TickChanges[] = []
  #keptRows = 0
  #keptFrom: number

  constructor(name: string, { plan, flow, query, ticks }: { plan: Plan; flow: Dataflow; query: Query; ticks: Ticks }) {
    this.name = name
    this.plan = plan
    this.#flow = flow
    this.query = query
    this.#ticks = ticks
    this.#keptFrom = ticks.now
  }

  get tick(): number {
    return this.#ticks.now
  }

  get columns() {
    return this.query.columns
  }

  get stopped(): CallplaneError | null {
    return this.query.stopped
  }

  /** Rows in all of its operators. */
  get held(): number {
    return this.query.stopped === null ? this.#flow.size(this.query) : 0
  }

  /** Throws where the result cannot be sent whole. */
  checkSendable(): void {
    if (this.query.stopped !== null) throw this.query.stopped
    const { count } = this
    if (count <= MAX_SNAPSHOT_ROWS) return
    const message = `the result of ${this.name} has ${count} rows, which are too many to be sent: group them, or take the first`
    throw new CallplaneError('query_stopped', message)
  }

  get count(): number {
    return this.query.stopped === null ? this.#flow.count(this.query) : 0
  }

  rows(): [Row, number][] {
    return this.query.stopped === null ? this.#flow.rows(this.query) : []
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
  return [...running].flatMap(({ name, audience, tick }) => {
    const listener = audience.get(reach)
    return listener === undefined ? [] : [{ name, ...listener.request(tick) }]
  })
}

export function loadOf({ tick, clients, slowClients, queries }: PeerStatus): Load {
  const rows = queries.reduce((sum, query) => sum + query.rows, 0)
  return { tick, clients, slowClients, queries: queries.length, rows }
}

/** What each of them holds, and how many clients of theirs are slow. */
export function statusOf(running: readonly Standing[]): Pick<PeerStatus, 'slowClients' | 'queries'> {
  const slow = running.flatMap(({ audience }) => [...audience].filter(([, listener]) => listener.isSlow))
  const queries = running.map((standing) => ({
    name: standing.name,
    clients: standing.audience.size,
    rows: standing.held,
    stopped: standing.stopped?.message ?? null,
  }))
  return { slowClients: new Set(slow.map(([reach]) => reach)).size, queries }
}
