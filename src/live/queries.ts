// The queries that run at a peer for a namespace: each begins with the first who wants it, and goes on for a while after the last.
import type { Sql } from '../db/sql.ts'
import { CallplaneError } from '../protocol/errors.ts'
import type { Plan } from '../protocol/plan.ts'
import type { Interest, Reach } from './audience.ts'
import { beginQuery } from './begin-query.ts'
import { Dataflow, type RelationChange } from './kernel/dataflow.ts'
import { Registry } from './registry.ts'
import { interestsOf, Standing } from './standing.ts'
import type { Ticks } from './ticks.ts'
import { hasWindow, type WindowTime } from './window-time.ts'

export interface QueriesOptions {
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
  #standing = new Map<string, Promise<Standing>>()
  #running = new Map<string, Standing>()
  #isOver = false

  constructor(registry: Registry, options: QueriesOptions) {
    this.#options = options
    this.#registry = registry
    this.#flow = this.#newFlow()
  }

  get flow(): Dataflow {
    return this.#flow
  }

  get running(): Standing[] {
    return [...this.#running.values()]
  }

  /** Whether it has not ended since it was asked for. */
  isRunning(standing: Standing): boolean {
    return this.#running.get(standing.name) === standing
  }

  /** Begins with what is registered now; answers the queries of before, which are void. */
  begin(registry: Registry): Standing[] {
    const before = this.running
    this.#registry = registry
    this.#flow = this.#newFlow()
    this.#flow.advance(registry.nowMs)
    this.#running = new Map()
    this.#standing = new Map()
    return before
  }

  close(): void {
    this.#isOver = true
  }

  /** The query under a name, which begins to run where it does not yet. */
  async stand(name: string): Promise<Standing> {
    const plan = this.#registry.planOf(name)
    if (plan === null) throw new CallplaneError('not_found', `there is no query ${name}: register it first`)
    const known = this.#standing.get(name)
    if (known !== undefined) return known
    const standing = this.#start(name, plan)
    this.#standing.set(name, standing)
    standing.catch(() => {
      if (this.#standing.get(name) === standing) this.#standing.delete(name)
    })
    return standing
  }

  /** The name is free again: who listens hears so. */
  retire(name: string): void {
    const standing = this.#running.get(name)
    this.#standing.delete(name)
    if (standing === undefined) return
    this.#running.delete(name)
    standing.reset('the query was unregistered')
    this.#flow.remove(standing.query)
  }

  /** One tick. */
  step(changes: readonly RelationChange[]): void {
    this.#flow.apply(changes)
    this.#flow.advance(this.#registry.nowMs)
    const { changes: changed, stopped } = this.#flow.flush()
    for (const standing of this.#running.values()) {
      const own = changed.get(standing.query)
      if (own !== undefined) standing.change(own)
      if (stopped.includes(standing.query)) standing.fail()
      standing.catchUp()
    }
  }

  /** Once a second: progress, and an end for what nobody wants any more. `isOwing`: there is more to do. */
  turn(): { isWatched: boolean; hasTime: boolean; isOwing: boolean } {
    const nowMs = performance.now()
    let [isWatched, hasTime, isOwing] = [false, false, false]
    for (const [name, standing] of this.#running) {
      standing.catchUp({ isIdle: true })
      for (const listener of standing.audience.values()) listener.progress(standing)
      isOwing ||= standing.isOwing
      if (standing.audience.size > 0) {
        isWatched = true
        hasTime ||= hasWindow(standing.plan) && standing.held > 0
      } else if (nowMs - standing.idleSinceMs >= this.#options.lingerMs) {
        this.#running.delete(name)
        this.#standing.delete(name)
        this.#flow.remove(standing.query)
      } else isOwing = true
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

  #newFlow(): Dataflow {
    return new Dataflow({ relations: this.#registry.relations, maxRows: this.#options.maxRows, nowMs: 0 })
  }

  async #start(name: string, plan: Plan): Promise<Standing> {
    const flow = this.#flow
    const registry = this.#registry
    const { sql, namespace, ticks, time, poke } = this.#options
    const wanted = time.wanted({ nextMs: registry.nextMs, hasWindow: hasWindow(plan) })
    if (wanted !== null && flow.find(plan) === null) await time.move(wanted, { appended: poke })
    const query = await beginQuery(plan, { sql, namespace, registry, flow, ticks, poke })
    if (this.#isOver) throw new CallplaneError('closed', 'the peer closes')
    // The log began anew meanwhile.
    if (flow !== this.#flow) return this.#start(name, plan)
    const standing = new Standing(name, { plan, flow, query, ticks })
    // Unregistered meanwhile, and perhaps registered with another plan: this one ends before it has begun.
    if (this.#registry.planOf(name) !== plan) {
      flow.remove(query)
      throw new CallplaneError('not_found', `the query ${name} was unregistered`)
    }
    this.#running.set(name, standing)
    return standing
  }
}
