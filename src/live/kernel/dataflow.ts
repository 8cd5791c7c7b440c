// The dataflow of one namespace: standing queries over its relations, stepped from tick to tick.
import { CallplaneError } from '../../protocol/errors.ts'
import { planText, type Plan } from '../../protocol/plan.ts'
import type { Columns, Relations, Row } from '../../protocol/relations.ts'
import { Batch, type Change } from './batch.ts'
import { Dispatch, type Reader } from './dispatch.ts'
import { QueryFault } from './evaluate.ts'
import { concat, listOfState, type State } from './operator.ts'
import { Output } from './output.ts'
import { pipelineOf, type Pipeline } from './pipeline.ts'
import type { Source } from './source.ts'
import { orderOf } from './top.ts'
import { compareRows, typesOf, type Compare } from './values.ts'
import type { Clock } from './window.ts'

/** A row of a relation, in the order of its columns, that came (1) or went (−1). An update is both. */
export interface RelationChange {
  relation: string
  row: Row
  diff: number
}

/** A standing query. Equal plans are one query, which goes on until it was removed as often as it was added. */
export interface Query {
  readonly text: string
  readonly columns: Columns
  /** Why it was stopped: `query_stopped`, its own fault; `internal`, ours. It holds nothing then. */
  readonly stopped: CallplaneError | null
}

/** What a query begins with: by the text of each source its rows, and how many there are of each. */
export type Hydration = ReadonlyMap<string, Iterable<Change>>

interface Running extends Query {
  users: number
  stopped: CallplaneError | null
  pipeline: Pipeline
  readers: Reader[]
  /** Its rows, where the last operator does not hold them itself. */
  output: Output
  /** How many rows it has, each as often as it is there. */
  count: number
  order: Compare<Row>
}

export interface Tick {
  /** The changes of each query whose rows changed: each row once, in an order that is the same at every peer. */
  changes: Map<Query, Change[]>
  /** Queries that were stopped in this tick. */
  stopped: Query[]
}

/** What a plan reads: all of it must be in the hydration. */
export function sourcesOf(plan: Plan, relations: Relations): Source[] {
  const { leaves } = pipelineOf(plan, { relations, clock: { nowMs: 0 }, maxRows: 0 })
  return [...new Map(leaves.map(({ source }) => [source.text, source])).values()]
}

export class Dataflow {
  readonly #relations: Relations
  readonly #maxRows: number
  readonly #clock: Clock
  readonly #dispatch: Dispatch
  readonly #queries = new Map<string, Running>()
  readonly #users = new Map<Reader, Set<Running>>()
  #isAdvanced = false

  /** `maxRows`: what a query may hold in all of its operators and its output. */
  constructor({ relations, maxRows, nowMs }: { relations: Relations; maxRows: number; nowMs: number }) {
    this.#relations = relations
    this.#maxRows = maxRows
    this.#clock = { nowMs }
    this.#dispatch = new Dispatch(relations)
  }

  /** The query of an equal plan: adding it once more needs no hydration. */
  find(plan: Plan): Query | null {
    return this.#queries.get(planText(plan)) ?? null
  }

  /**
   * The plan is one that `parsePlan` gave. The rows of its sources are those at the last tick, once `changes` are made to
   * them.
   */
  add(plan: Plan, hydration: Hydration = new Map(), changes: Iterable<RelationChange> = []): Query {
    return this.#add(plan, (query) => {
      const since = new Dispatch(this.#relations)
      for (const { source } of query.pipeline.leaves) since.use(source)
      for (const { relation, row, diff } of changes) since.add(relation, row, diff)
      const changed = new Map(Array.from(since.take(), ([reader, batch]) => [reader.source.text, batch]))
      for (const { source, feed } of query.pipeline.leaves) {
        const rows = hydration.get(source.text)
        if (rows === undefined) throw new CallplaneError('internal', `the hydration lacks ${source.text}`)
        const batch = new Batch()
        for (const [row, count] of rows) batch.add(row, count)
        changed.get(source.text)?.each((row, diff) => batch.add(row, diff))
        feed.put(batch)
      }
      this.#step(query)
    })
  }

  /** The query as `dump` gave it, at the tick of the dump. */
  load(plan: Plan, state: State): Query {
    return this.#add(plan, (query) => {
      const [output, ...operators] = listOfState(state)
      query.output.load(output, typesOf(query.columns))
      query.pipeline.stateful.forEach((operator, n) => operator.load(operators[n] ?? null))
    })
  }

  #add(plan: Plan, fill: (query: Running) => void): Query {
    const text = planText(plan)
    const known = this.#queries.get(text)
    if (known !== undefined) {
      known.users++
      return known
    }
    const clock = this.#clock
    const pipeline = pipelineOf(plan, { relations: this.#relations, clock, maxRows: this.#maxRows })
    const { columns } = pipeline
    const order = plan.op === 'top' ? orderOf(plan, columns).compare : compareRows([], columns.size)
    const query: Running = {
      text,
      columns,
      users: 1,
      stopped: null,
      pipeline,
      readers: [],
      output: new Output(),
      count: 0,
      order,
    }
    fill(query)
    query.count = 0
    eachRow(query, (_row, count) => void (query.count += count))
    this.#queries.set(text, query)
    if (query.stopped !== null) return query
    for (const { source } of pipeline.leaves) {
      const reader = this.#dispatch.use(source)
      query.readers.push(reader)
      const users = this.#users.get(reader) ?? new Set()
      this.#users.set(reader, users.add(query))
    }
    return query
  }

  /** Ends the query if nobody else has added it. */
  remove(query: Query): void {
    const running = this.#running(query)
    if (--running.users > 0) return
    this.#queries.delete(query.text)
    this.#release(running)
  }

  apply(changes: Iterable<RelationChange>): void {
    for (const { relation, row, diff } of changes) this.#dispatch.add(relation, row, diff)
  }

  /** Moves the time of all windows. It never goes back. */
  advance(nowMs: number): void {
    if (nowMs < this.#clock.nowMs)
      throw new RangeError(`time is at ${this.#clock.nowMs} and cannot go back to ${nowMs}`)
    if (nowMs === this.#clock.nowMs) return
    this.#clock.nowMs = nowMs
    this.#isAdvanced = true
  }

  /** Ends the tick: every query takes in what came since the last. */
  flush(): Tick {
    const concerned = new Set<Running>()
    for (const [reader, batch] of this.#dispatch.take()) {
      for (const query of this.#users.get(reader) ?? []) {
        concerned.add(query)
        for (const { source, feed } of query.pipeline.leaves) if (source.text === reader.source.text) feed.put(batch)
      }
    }
    if (this.#isAdvanced) {
      for (const query of this.#queries.values()) if (query.pipeline.hasWindow) concerned.add(query)
    }
    this.#isAdvanced = false
    const tick: Tick = { changes: new Map(), stopped: [] }
    for (const query of concerned) {
      if (query.stopped !== null) continue
      const changes = this.#step(query)
      if (changes === null) tick.stopped.push(query)
      else if (changes.length > 0) tick.changes.set(query, changes)
    }
    return tick
  }

  /** Its rows and how many there are of each: a `top` in its order, else in that of the columns. */
  rows(query: Query): [row: Row, count: number][] {
    const running = this.#running(query)
    const rows: [Row, number][] = []
    eachRow(running, (row, count) => void rows.push([row, count]))
    return rows.toSorted(([a], [b]) => running.order(a, b))
  }

  /** How many rows it has, each as often as it is there. */
  count(query: Query): number {
    return this.#running(query).count
  }

  /** Rows and values in all operators and in the output. */
  size(query: Query): number {
    return sizeOf(this.#running(query))
  }

  /** About how much memory these take. */
  bytes(query: Query): number {
    const { pipeline, output } = this.#running(query)
    return Math.round(pipeline.stateful.reduce((sum, operator) => sum + operator.bytes(), output.bytes))
  }

  /** Its state between two ticks, as JSON. */
  dump(query: Query): State {
    const { pipeline, output } = this.#running(query)
    return [output.dump(), ...pipeline.stateful.map((operator) => operator.dump())]
  }

  /** The changes of the output; null where the query was stopped. */
  #step(query: Running): Change[] | null {
    try {
      const changes = outputOf(query)
      for (const [, diff] of changes) query.count += diff
      if (sizeOf(query) > this.#maxRows) throw new QueryFault(`it holds more than ${this.#maxRows} rows`)
      return changes
    } catch (error) {
      const fault = error instanceof QueryFault ? `the query was stopped: ${error.message}` : null
      query.stopped =
        fault === null
          ? new CallplaneError('internal', 'the query was stopped by a fault of the kernel', { cause: error })
          : new CallplaneError('query_stopped', fault)
      this.#release(query)
      return null
    }
  }

  #release(query: Running): void {
    for (const reader of query.readers) {
      this.#users.get(reader)?.delete(query)
      if (this.#users.get(reader)?.size === 0) this.#users.delete(reader)
      this.#dispatch.release(reader)
    }
    query.readers = []
    query.output = new Output()
    query.pipeline = { ...query.pipeline, operator: NONE, leaves: [], stateful: [], hasWindow: false }
  }

  #running(query: Query): Running {
    const running = this.#queries.get(query.text)
    if (running === undefined || running !== query) throw new TypeError('the query was removed')
    return running
  }
}

/** What a query that was stopped is left with. */
const NONE = concat([])

function sizeOf({ pipeline, output }: Running): number {
  return pipeline.stateful.reduce((sum, operator) => sum + operator.held(), output.size)
}

function eachRow({ pipeline, output }: Running, see: (row: Row, count: number) => void): void {
  if (pipeline.operator.rows === undefined) output.each(see)
  else pipeline.operator.rows(see)
}

/** Pulls the pipeline, and adds up what comes. */
function outputOf({ pipeline, output }: Running): Change[] {
  const batch = pipeline.operator.pull()
  if (batch.isEmpty) return []
  if (pipeline.operator.rows === undefined) return output.take(batch)
  return new Output().take(batch)
}
