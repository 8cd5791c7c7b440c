// The queries that run at a peer for a namespace: each begins with the first who wants it, and goes on for a while after the last.
import type { Sql } from '../db/sql.ts'
import { CallplaneError } from '../protocol/errors.ts'
import type { Interest, Reach } from './audience.ts'
import { beginQuery } from './begin-query.ts'
import { Gathering } from './gathering.ts'
import type { Dataflow, Query, RelationChange } from './kernel/dataflow.ts'
import type { Neighbours } from './neighbours.ts'
import type { Registered, Registry } from './registry.ts'
import type { RoomState } from './room-options.ts'
import { interestsOf, keyOf, runningIn, Standing } from './standing.ts'
import type { Ticks } from './ticks.ts'
import { hasWindow, type WindowTime } from './window-time.ts'

export interface QueriesOptions {
  /** The id of this peer. */
  peer: string
  /** With whom it shares queries that come in pieces; null: it runs them whole. */
  neighbours: Neighbours | null
  sql: Sql
  namespace: string
  ticks: Ticks
  time: WindowTime
  maxRows: number
  /** A query that nobody is interested in any more goes on for so long. */
  lingerMs: number
  /** The log is wanted. */
  poke: () => void
}

export class Queries {
  readonly #options: QueriesOptions
  #registry: Registry
  #flow: Dataflow
  /** By their keys, as are those that run. */
  #standing = new Map<string, Promise<Standing>>()
  #running = new Map<string, Standing>()
  /** Those that come in pieces, also before they stand. */
  readonly #gatherings = new Map<string, Gathering>()
  #isOver = false

  constructor(state: RoomState, options: QueriesOptions) {
    this.#options = options
    this.#registry = state.registry
    this.#flow = state.flow
    this.#goOn(state)
  }

  get flow(): Dataflow {
    return this.#flow
  }

  get running(): Standing[] {
    return [...this.#running.values()]
  }

  get watched(): Map<string, Query> {
    const watched = this.running.filter(({ audience, isPiece }) => audience.size > 0 && !isPiece)
    return new Map(watched.flatMap(({ name, running: { query } }) => (query === null ? [] : [[name, query]])))
  }

  /** Whether it has not ended since it was asked for. */
  isRunning(standing: Standing): boolean {
    return this.#running.get(standing.name) === standing
  }

  /** Begins with this; answers the queries of before, which are void. */
  begin(state: RoomState): Standing[] {
    const before = this.running
    for (const standing of before) standing.running.end()
    for (const gathering of this.#gatherings.values()) gathering.end()
    this.#gatherings.clear()
    this.#registry = state.registry
    this.#flow = state.flow
    this.#goOn(state)
    return before
  }

  close(): void {
    this.#isOver = true
    for (const gathering of this.#gatherings.values()) gathering.end()
  }

  /** Ticks by which a query that is gathered is behind. */
  get lag(): number {
    const { now } = this.#options.ticks
    return Math.max(0, ...Array.from(this.#gatherings.values(), (one) => (one.hasBegun ? now - one.ticks.now : 0)))
  }

  /** The query under a name, or a piece of it, which begins to run where it does not yet. */
  async stand({ name, piece = null }: { name: string; piece?: number | null | undefined }): Promise<Standing> {
    const registered = this.#registry.registered(name)
    if (registered === null) throw new CallplaneError('not_found', `there is no query ${name}: register it first`)
    if (piece !== null && piece >= registered.shards) {
      throw new CallplaneError('not_found', `the query ${name} has ${registered.shards} pieces, and none is ${piece}`)
    }
    const key = keyOf(name, piece)
    const known = this.#standing.get(key)
    if (known !== undefined) return known
    const isGathered = piece === null && registered.shards > 1 && this.#options.neighbours !== null
    const standing = isGathered ? this.#gather(name, registered) : this.#start(name, piece, registered)
    this.#standing.set(key, standing)
    standing.catch(() => {
      if (this.#standing.get(key) === standing) this.#standing.delete(key)
    })
    return standing
  }

  /** The name is free again: who listens hears so. */
  retire(name: string): void {
    for (const key of this.#standing.keys()) if (key === name || key.startsWith(`${name}#`)) this.#standing.delete(key)
    this.#gatherings.get(name)?.end(new CallplaneError('not_found', `the query ${name} was unregistered`))
    for (const standing of this.running) {
      if (standing.asked.name !== name) continue
      this.#end(standing)
      standing.reset('the query was unregistered')
    }
  }

  /** One tick. */
  step(changes: readonly RelationChange[]): void {
    this.#flow.apply(changes)
    this.#flow.advance(this.#registry.nowMs)
    const { changes: changed, stopped } = this.#flow.flush()
    for (const standing of this.#running.values()) {
      const { query } = standing.running
      const own = query === null ? undefined : changed.get(query)
      if (own !== undefined) standing.change(own)
      if (query !== null && stopped.includes(query)) standing.fail()
      standing.catchUp()
    }
  }

  /** What has been read of the log is taken in: who gathers pieces hears of each at once, how far it has come. */
  settle(): void {
    for (const standing of this.#running.values()) standing.tellPeers()
    for (const gathering of this.#gatherings.values()) gathering.advance()
  }

  /** Other peers have come, or gone. */
  ensure(): void {
    for (const gathering of this.#gatherings.values()) gathering.ensure()
  }

  /** Once a second: progress, and an end for what nobody wants any more. `isOwing`: there is more to do. */
  turn(): { isWatched: boolean; hasTime: boolean; isOwing: boolean } {
    const { neighbours, ticks } = this.#options
    const nowMs = performance.now()
    let [isWatched, hasTime, isOwing] = [false, false, false]
    for (const standing of this.#running.values()) {
      standing.catchUp({ isIdle: true })
      for (const listener of standing.audience.values()) listener.progress(standing)
      isOwing ||= standing.isOwing
      if (standing.audience.size > 0) {
        isWatched = true
        hasTime ||= hasWindow(standing.plan) && standing.held > 0
      } else if (nowMs - standing.idleSinceMs >= this.#options.lingerMs) {
        this.#end(standing)
      } else isOwing = true
    }
    for (const [name, gathering] of this.#gatherings) {
      gathering.ensure()
      isOwing ||= gathering.isMoving
      if ((this.#running.get(name)?.audience.size ?? 0) > 0) neighbours?.stepped(ticks.now)
    }
    return { isWatched, hasTime, isOwing }
  }

  /** What it is interested in, as it can ask for it again. */
  interestsOf(reach: Reach): Interest[] {
    return interestsOf(reach, this.#running.values())
  }

  /** Says whether it was interested. */
  leave(reach: Reach, name: string): boolean {
    const standing = this.#running.get(name)
    if (standing?.audience.delete(reach) !== true) return false
    if (standing.audience.size === 0) standing.idleSinceMs = performance.now()
    return true
  }

  /** Says whether it was interested in any. */
  leaveAll(reach: Reach): boolean {
    return [...this.#running.keys()].filter((name) => this.leave(reach, name)).length > 0
  }

  /** The client reads again. */
  drained(reach: Reach): void {
    for (const standing of this.#running.values()) if (standing.audience.has(reach)) standing.catchUp()
  }

  /** Those that run in it already go on. */
  #goOn({ flow, watched, registry }: RoomState): void {
    const { ticks } = this.#options
    this.#running = new Map()
    this.#standing = new Map()
    for (const [name, query] of watched) {
      const plan = registry.registered(name)?.plan
      if (plan === undefined) continue
      const standing = new Standing(name, { plan, running: runningIn(flow, query), ticks })
      this.#running.set(name, standing)
      this.#standing.set(name, Promise.resolve(standing))
    }
  }

  #end(standing: Standing): void {
    this.#running.delete(standing.name)
    this.#standing.delete(standing.name)
    if (!standing.isPiece) this.#gatherings.delete(standing.name)
    standing.running.end()
  }

  async #start(name: string, piece: number | null, registered: Registered): Promise<Standing> {
    const [flow, registry] = [this.#flow, this.#registry]
    const { sql, namespace, ticks, time, poke } = this.#options
    const plan = piece === null ? registered.plan : registry.divide(registered).piece(piece)
    const wanted = time.wanted({ nextMs: registry.nextMs, hasWindow: hasWindow(plan) })
    if (wanted !== null && flow.find(plan) === null) await time.move(wanted, { appended: poke })
    const query = await beginQuery(plan, { sql, namespace, registry, flow, ticks, poke })
    this.#checkOpen()
    // The log began anew meanwhile.
    if (flow !== this.#flow) return this.stand({ name, piece })
    const running = runningIn(flow, query)
    return this.#run(name, registered, new Standing(name, { plan, piece, running, ticks }))
  }

  /** From its pieces, wherever they are. */
  async #gather(name: string, registered: Registered): Promise<Standing> {
    const { neighbours, peer, maxRows, ticks: log } = this.#options
    const [flow, { plan, shards }] = [this.#flow, registered]
    await neighbours?.look(log.now)
    this.#checkOpen()
    const gathering = new Gathering(name, this.#registry.divide(registered), {
      peer,
      shards,
      maxRows,
      log,
      holders: () => neighbours?.holders(name, shards) ?? [],
      open: (holder, request, hear) => neighbours?.open(holder, request, hear) ?? { close: () => {} },
    })
    this.#gatherings.set(name, gathering)
    gathering.ensure()
    const failure = await gathering.begun.then(
      () => null,
      (error: unknown) => ({ error }),
    )
    if (flow !== this.#flow && !this.#isOver) return this.stand({ name })
    if (failure !== null) {
      if (this.#gatherings.get(name) === gathering) this.#gatherings.delete(name)
      throw failure.error
    }
    const { ticks } = gathering
    const standing = this.#run(name, registered, new Standing(name, { plan, running: gathering, ticks }))
    gathering.tell({
      changed(changes) {
        if (changes.length > 0) standing.change(changes)
        standing.catchUp()
      },
      stopped: () => standing.fail(),
    })
    return standing
  }

  /** Unregistered meanwhile, and perhaps registered with another plan, it ends before it has begun. */
  #run(name: string, registered: Registered, standing: Standing): Standing {
    if (this.#registry.registered(name) !== registered) {
      standing.running.end()
      throw new CallplaneError('not_found', `the query ${name} was unregistered`)
    }
    this.#running.set(standing.name, standing)
    return standing
  }

  #checkOpen(): void {
    if (this.#isOver) throw new CallplaneError('closed', 'the peer closes')
  }
}
