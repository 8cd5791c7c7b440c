// What the kernel of the live queries does on one core: events a second, and the memory that it takes.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { avg, count, max, min, sum } from '../../src/protocol/aggregation.ts'
import { from } from '../../src/protocol/from.ts'
import { parsePlan } from '../../src/protocol/parse-plan.ts'
import {
  RELATIONS,
  type Columns,
  type ColumnType,
  type Relations,
  type Row,
  type Value,
} from '../../src/protocol/relations.ts'
import { Dataflow, sourcesOf, type RelationChange } from '../../src/live/kernel/dataflow.ts'
import { checkOf } from '../../src/live/kernel/evaluate.ts'
import { indexOf, keyOfRow } from '../../src/live/kernel/values.ts'
import { dbIvmView } from './db-ivm-views.ts'

type Built = { plan: unknown }

const MACHINE = { machine: 'text', region: 'text', cores: 'int' } as const
export const RELATIONS_HERE: Relations = new Map([
  ...RELATIONS,
  ['machines', new Map<string, ColumnType>(Object.entries(MACHINE))] as const,
])
const JOBS = 100_000
const FUNCTIONS = 50
const MACHINES = 200
const STATES = ['pending', 'running', 'succeeded', 'failed', 'cancelled']

const jobColumns: Columns = RELATIONS_HERE.get('jobs') ?? new Map<string, ColumnType>()
const jobColumnNames = [...jobColumns.keys()]

/** The tables that the events come from: jobs that move, and now and then a machine that changes. */
export class Fleet {
  readonly jobs: Row[]
  readonly machines: Row[]
  #seed = 42
  #moved = 0

  constructor(jobs: number = JOBS) {
    this.jobs = Array.from({ length: jobs }, (_, id) => this.#job(id))
    this.machines = Array.from({ length: MACHINES }, (_, id) => [`m${id}`, `r${id % 7}`, 4])
  }

  tables(): Map<string, Row[]> {
    return new Map([
      ['jobs', this.jobs],
      ['machines', this.machines],
    ])
  }

  /** One job that moves: its old row gone, its new one come. */
  move(): [old: Row, now: Row] {
    const id = this.#random(this.jobs.length)
    const old = this.jobs[id] ?? []
    const now = this.#job(id)
    this.jobs[id] = now
    return [old, now]
  }

  moveMachine(): [old: Row, now: Row] {
    const id = this.#random(MACHINES)
    const old = this.machines[id] ?? []
    const now: Row = [`m${id}`, `r${this.#random(7)}`, 4 + this.#random(60)]
    this.machines[id] = now
    return [old, now]
  }

  /** Jobs that move, and a machine once in so many of them; 0: none. */
  changes(count: number, { machineEvery = 0 } = {}): RelationChange[] {
    const changes: RelationChange[] = []
    const say = (relation: string, [old, now]: [Row, Row]): void => {
      changes.push({ relation, row: old, diff: -1 }, { relation, row: now, diff: 1 })
    }
    for (let n = 0; n < count; n++) {
      say('jobs', this.move())
      this.#moved++
      if (machineEvery > 0 && this.#moved % machineEvery === 0) say('machines', this.moveMachine())
    }
    return changes
  }

  /** Everything, as what comes into an empty view. */
  all(): RelationChange[] {
    return [...this.tables()].flatMap(([relation, rows]) => rows.map((row) => ({ relation, row, diff: 1 })))
  }

  #job(id: number): Row {
    const fields: Record<string, Value> = {
      id: `0190a1b2-c3d4-7000-8000-${String(id).padStart(12, '0')}`,
      service: `s${id % 10}`,
      function: `f${id % FUNCTIONS}`,
      state: STATES[this.#random(STATES.length)] ?? 'pending',
      runner: `m${this.#random(MACHINES)}`,
      attempt: 1,
      priority: 0,
      created_at: 1_800_000_000_000 + id,
      run_ms: this.#random(100_000),
      wait_ms: this.#random(1_000),
    }
    return jobColumnNames.map((name) => fields[name] ?? null)
  }

  #random(below: number): number {
    this.#seed = (Math.imul(this.#seed, 1_664_525) + 1_013_904_223) >>> 0
    return this.#seed % below
  }
}

export const VIEWS = {
  count: () => from('jobs').groupBy('function', 'state').count(),
  aggregates: () =>
    from('jobs')
      .groupBy('function')
      .aggregate({ n: count(), sum: sum('run_ms'), avg: avg('run_ms'), min: min('run_ms'), max: max('run_ms') }),
  join: () =>
    from('jobs')
      .select({ id: 'id', machine: 'runner', state: 'state' })
      .join(from('machines', MACHINE), { on: 'machine' }),
  top: () => from('jobs').select('id', 'run_ms').where('run_ms', '>=', 0).orderBy('run_ms', 'desc').limit(10),
}

/** 700 that differ by a constant, and 300 of ten shapes. */
function manyPlans(): Built[] {
  const plans: Built[] = []
  for (let n = 0; n < 700; n++) {
    plans.push(
      from('jobs')
        .where({ runner: `m${n % MACHINES}`, function: `f${Math.floor(n / MACHINES)}` })
        .groupBy('state')
        .count(),
    )
  }
  for (let n = 0; n < 300; n++) plans.push(shapes[n % 10]?.() ?? VIEWS.count())
  return plans
}

const shapes: (() => Built)[] = [
  VIEWS.count,
  VIEWS.aggregates,
  VIEWS.top,
  () => from('jobs').where({ state: 'failed' }).groupBy('service', 'function').count(),
  () => from('jobs').where({ state: 'running' }).groupBy('runner').count(),
  () => from('jobs').groupBy('service').count(),
  () => from('jobs').groupBy('service').max('run_ms'),
  () => from('jobs').where('run_ms', '>', 99_000).groupBy('function').count(),
  () =>
    from('jobs')
      .where({ state: ['failed', 'cancelled'] })
      .groupBy('service')
      .count(),
  () =>
    from('jobs')
      .groupBy()
      .aggregate({ n: count(), mean: avg('wait_ms') }),
]

export interface KernelFigure {
  perSecond: number
  heapMb: number
  hydrationMs: number
}

export interface KernelOptions {
  batch: number
  forMs: number
  /** A machine changes after so many jobs; 0: none. */
  machineEvery?: number
}

/** Events a second through these plans, each event one job that moves. */
function measureKernel(plans: readonly Built[], { batch, forMs, machineEvery = 0 }: KernelOptions): KernelFigure {
  const fleet = new Fleet()
  const heapBefore = heapMb()
  const flow = new Dataflow({ relations: RELATIONS_HERE, maxRows: 10_000_000, nowMs: 0 })
  const hydrationBegan = performance.now()
  for (const { plan } of plans) {
    const parsed = parsePlan(plan, RELATIONS_HERE).plan
    if (flow.find(parsed) === null) flow.add(parsed, hydrate(fleet, parsed))
    else flow.add(parsed)
  }
  const hydrationMs = performance.now() - hydrationBegan
  const make = (n: number): RelationChange[] => fleet.changes(n, { machineEvery })
  const perSecond = eventsPerSecond(make, { batch, forMs }, (changes) => {
    flow.apply(changes)
    flow.flush()
  })
  const heldMb = heapMb() - heapBefore
  flow.flush() // It must still be there as its heap is read.
  return { perSecond, heapMb: heldMb, hydrationMs }
}

function hydrate(fleet: Fleet, plan: ReturnType<typeof parsePlan>['plan']): Map<string, Iterable<[Row, number]>> {
  const tables = fleet.tables()
  return new Map(
    sourcesOf(plan, RELATIONS_HERE).map((source) => {
      const columns = RELATIONS_HERE.get(source.relation) ?? new Map<string, ColumnType>()
      const check = checkOf({ op: 'and', of: source.where }, columns)
      const indices = source.columns.map((name) => indexOf(columns, name))
      const counted = new Map<string, [Row, number]>()
      for (const row of tables.get(source.relation) ?? []) {
        if (check(row) !== true) continue
        const picked = indices.map((index) => row[index] ?? null)
        const key = keyOfRow(picked)
        const entry = counted.get(key)
        if (entry === undefined) counted.set(key, [picked, 1])
        else entry[1]++
      }
      return [source.text, counted.values()]
    }),
  )
}

/** The time that this thread had for `take` counts, after a warm-up of a quarter: what else the machine does is left out. */
function eventsPerSecond(
  make: (n: number) => RelationChange[],
  { batch, forMs }: { batch: number; forMs: number },
  take: (changes: RelationChange[]) => void,
): number {
  let [spentMs, counted, countedMs] = [0, 0, 0]
  while (spentMs < forMs * 1.25) {
    const changes = make(batch)
    const began = process.threadCpuUsage()
    take(changes)
    const { user, system } = process.threadCpuUsage(began)
    const tookMs = (user + system) / 1_000
    if (spentMs > forMs * 0.25) {
      counted += batch
      countedMs += tookMs
    }
    spentMs += tookMs
  }
  return (counted / countedMs) * 1_000
}

/** The same of a view in db-ivm. */
function measureDbIvm(name: keyof typeof VIEWS, { batch, forMs, machineEvery = 0 }: KernelOptions): KernelFigure {
  const fleet = new Fleet()
  const heapBefore = heapMb()
  const view = dbIvmView(name)
  const began = performance.now()
  view.take(fleet.all())
  const hydrationMs = performance.now() - began
  const perSecond = eventsPerSecond(
    (n) => fleet.changes(n, { machineEvery }),
    { batch, forMs },
    (changes) => view.take(changes),
  )
  const heldMb = heapMb() - heapBefore
  view.take([]) // As above.
  return { perSecond, heapMb: heldMb, hydrationMs }
}

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void // which the flag has made

/** The heap in use. */
function heapMb(): number {
  collectGarbage()
  return process.memoryUsage().heapUsed / 1e6
}

/** Every figure of the kernel, and those of db-ivm beside it. */
export function measureLiveKernel({ forMs = 2_000, say = (_: string) => {} } = {}): Record<string, KernelFigure> {
  const figures: Record<string, KernelFigure> = {}
  for (const name of ['count', 'aggregates', 'join', 'top'] as const) {
    const machineEvery = name === 'join' ? 1_000 : 0
    for (const batch of [1, 100]) {
      say(`${name}, batch ${batch}`)
      figures[`${name}, batch ${batch}`] = measureKernel([VIEWS[name]()], { batch, forMs, machineEvery })
    }
    figures[`${name}, batch 100, db-ivm`] = measureDbIvm(name, { batch: 100, forMs, machineEvery })
  }
  say('1,000 queries')
  figures['1,000 queries, batch 100'] = measureKernel(manyPlans(), { batch: 100, forMs })
  return figures
}
