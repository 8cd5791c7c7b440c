// A plan in pieces says what the plan says: row for row, at every tick, for any plan and history.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Change } from '../../../src/live/kernel/batch.ts'
import type { Dataflow, Query } from '../../../src/live/kernel/dataflow.ts'
import { Merged } from '../../../src/live/merged.ts'
import { dividePlan, type DividedPlan } from '../../../src/live/shard-plan.ts'
import { inputsOf } from '../../../src/protocol/plan-columns.ts'
import { count, median, sum } from '../../../src/protocol/aggregation.ts'
import { from } from '../../../src/protocol/from.ts'
import type { Literal, Plan } from '../../../src/protocol/plan.ts'
import { parsePlan } from '../../../src/protocol/parse-plan.ts'
import { RELATIONS } from '../../../src/protocol/relations.ts'
import { anyRow, OWN, OWN_RELATIONS, randomPlan } from './random-plans.ts'
import { World } from './world.ts'

type Table = keyof typeof OWN
type Fields = Record<string, Literal>

const TICKS = 4
const PLANS = 10
const RUNS = process.env['CALLPLANE_LONG'] === '1' ? 1_000 : 60

function divided(plan: Plan, shards: number, isKept: (relation: string) => boolean): DividedPlan | string {
  try {
    return dividePlan(plan, { shards, relations: OWN_RELATIONS, isKept })
  } catch (error) {
    return String(error)
  }
}

/** A query whole, and the same in pieces. */
class Twins {
  readonly whole: Query
  readonly merged: Merged
  readonly #plan: Plan
  readonly #flow: Dataflow
  readonly #pieces: Query[]

  constructor(world: World, plan: Plan, { of, shards }: { of: DividedPlan; shards: number }) {
    this.#plan = plan
    this.#flow = world.flow
    this.whole = world.flow.add(plan, world.hydrate(plan))
    this.merged = new Merged(of, { shards, maxRows: 100_000 })
    this.#pieces = Array.from({ length: shards }, (_, at) => of.piece(at)).map((piece) =>
      world.flow.add(piece, world.hydrate(piece)),
    )
    this.merged.take(this.#pieces.map((piece, at) => [at, world.flow.rows(piece)] as const))
    this.check()
  }

  take(changes: ReadonlyMap<Query, Change[]>): void {
    const said = this.merged.take(this.#pieces.map((piece, at) => [at, changes.get(piece) ?? []] as const))
    expect(said, JSON.stringify(this.#plan)).toEqual(changes.get(this.whole) ?? [])
    this.check()
  }

  check(): void {
    expect([this.whole.stopped, ...this.#pieces.map(({ stopped }) => stopped)].filter(Boolean)).toEqual([])
    expect([...this.merged.columns]).toEqual([...this.whole.columns])
    expect(this.merged.rows(), JSON.stringify(this.#plan)).toEqual(this.#flow.rows(this.whole))
    expect(this.merged.count).toBe(this.#flow.count(this.whole))
  }
}

const counts = { divided: 0, merging: 0, refused: 0 }

function run(gen: fc.GeneratorValue): void {
  const draw = <T>(arbitrary: fc.Arbitrary<T>): T => gen(() => arbitrary)
  const world = new World({ own: OWN })
  const tables: Record<Table, Fields[]> = { a: [], c: [] }
  const twins: Twins[] = []
  let nowMs = 0
  for (let tick = 0; tick < TICKS; tick++) {
    change(world, tables, draw)
    world.flow.advance((nowMs += draw(fc.integer({ min: 0, max: 200_000_000 }))))
    const { changes } = world.flow.flush()
    for (const one of twins) one.take(changes)
    if (tick % 2 === 1) continue
    for (let n = 0; n < PLANS / 2; n++) {
      const plan = world.parse(randomPlan(draw, { hasRecursion: false }))
      const shards = draw(fc.integer({ min: 1, max: 5 }))
      const kept = draw(fc.constantFrom<Table[]>([], ['c']))
      const of = divided(plan, shards, (relation) => kept.some((one) => one === relation))
      if (typeof of === 'string') {
        expect(of).toMatch(/^CallplaneError: plan\..*(join|union|unionAll|window) cannot be divided into shards: /)
        expect(['join', 'union', 'unionAll', 'window'].some((op) => has(plan, op))).toBe(true)
        counts.refused++
        continue
      }
      counts[of.merge === null ? 'divided' : 'merging']++
      twins.push(new Twins(world, plan, { of, shards }))
    }
  }
}

const has = (plan: Plan, op: string): boolean => plan.op === op || inputsOf(plan).some(([, input]) => has(input, op))

function change(world: World, tables: Record<Table, Fields[]>, draw: <T>(of: fc.Arbitrary<T>) => T): void {
  for (const table of ['a', 'c'] as const) {
    const rows = tables[table]
    const places = rows.map((_, place) => place)
    const gone = draw(fc.subarray(places, { maxLength: Math.min(6, rows.length) }))
    for (const place of gone.toReversed()) world.remove(table, ...rows.splice(place, 1))
    const known = rows.length === 0 ? anyRow(table) : fc.constantFrom(...rows)
    const one = fc.oneof({ arbitrary: anyRow(table), weight: 2 }, known)
    const come = draw(fc.array(one, { minLength: 1, maxLength: 12 }))
    rows.push(...come)
    world.insert(table, ...come)
  }
}

test(`${RUNS * PLANS} plans`, () => {
  fc.assert(fc.property(fc.gen(), run), { numRuns: RUNS, endOnFailure: true })
  // What is refused is seldom, and neither way of merging is left out.
  expect(Math.min(counts.divided, counts.merging)).toBeGreaterThan(counts.refused)
})

const jobs = from('jobs')
const slowest = jobs.select('id', 'run_ms').orderBy('run_ms', 'desc').limit(3)
const ofJobs = (plan: Plan, isKept = (relation: string): boolean => relation === 'runners') =>
  dividePlan(plan, { shards: 3, relations: RELATIONS, isKept })

test.each([
  ['plan.recurse', recursion()],
  ['plan.groupBy.input.recurse', { op: 'groupBy' as const, input: recursion(), by: ['id'], aggregates: [] }],
  ['plan.join', { ...besides(slowest.plan, jobs.plan), on: [['id', 'id']] as [string, string][] }],
  ['plan.union', { op: 'union' as const, inputs: [slowest.plan, slowest.plan] }],
  ['plan.where.input.unionAll', whereId({ op: 'unionAll', inputs: [slowest.plan, slowest.plan] })],
  ['plan.window', { op: 'window' as const, input: newest(), column: 'created_at', lengthMs: 1_000 }],
])('what cannot be divided is refused with the step that stands in the way: %s', (path, plan) => {
  const named = path.replaceAll('.', String.raw`\.`)
  expect(() => ofJobs(plan)).toThrow(
    new RegExp(`^${named} cannot be divided into shards: .* register it without shards$`),
  )
})

function recursion(): Plan {
  const ids = jobs.select('id').plan
  const joined: Plan = {
    op: 'join',
    kind: 'inner',
    left: { op: 'self', name: 'up' },
    right: jobs.select('id').plan,
    on: [['id', 'id']],
  }
  return { op: 'recurse', name: 'up', base: ids, step: joined }
}

function besides(left: Plan, right: Plan): Extract<Plan, { op: 'join' }> {
  return { op: 'join', kind: 'inner', left, right, on: [['id', 'id']], prefix: 'other_' }
}

function whereId(input: Plan): Plan {
  return { op: 'where', input, condition: { op: 'is null', of: { op: 'column', name: 'id' } } }
}

function newest(): Plan {
  return { op: 'top', input: jobs.plan, orderBy: [['created_at', 'desc']], limit: 3 }
}

test('a join of what nobody keeps whole is refused where the columns above it demand another division', () => {
  // Each group of services needs its jobs in one piece, and the join those of one runner.
  const joined: Plan = {
    op: 'join',
    kind: 'left',
    left: jobs.plan,
    right: from('runners').plan,
    on: [['runner', 'id']],
  }
  const grouped: Plan = { op: 'distinct', input: { op: 'project', input: joined, columns: [['service', 'service']] } }
  expect(ofJobs(grouped).merge).toBeNull()
  expect(ofJobs(grouped, () => false).merge).toMatchObject({ op: 'distinct' })
  const within: Plan = {
    op: 'join',
    kind: 'anti',
    left: from('services').plan,
    right: grouped,
    on: [['service', 'service']],
  }
  expect(ofJobs(within).merge).toBeNull()
  expect(() => ofJobs(within, () => false)).toThrow(
    'plan.join cannot be divided into shards: no columns that it compares',
  )
})

test('a client cannot write the steps that divide a plan', () => {
  const column = { op: 'column', name: 'id' }
  const shard = { op: 'where', input: jobs.plan, condition: { op: 'shard', by: [column], of: 2, at: 0 } }
  expect(() => parsePlan(shard, RELATIONS)).toThrow('op of a condition must be one of')
  const bucket = { op: 'map', input: jobs.plan, columns: [['b', { op: 'bucket', of: column }]] }
  expect(() => parsePlan(bucket, RELATIONS)).toThrow('op of an expression must be one of')
  const state = { op: 'groupBy', input: jobs.plan, by: [], aggregates: [['s', { op: 'state', of: { op: 'count' } }]] }
  expect(() => parsePlan(state, RELATIONS)).toThrow('op of an aggregate must be one of')
  expect(() => parsePlan({ op: 'from', relation: '#pieces' }, RELATIONS)).toThrow('no relation "#pieces"')
})

describe('a third of the state is in each of three pieces', () => {
  const SERVICES = 30
  const JOBS = 6_000
  const world = new World({ nowMs: JOBS })
  const names = Array.from({ length: JOBS }, (_, n) => `${n}`)
  for (const n of Array.from({ length: 300 }, (_, at) => at))
    world.insert('runners', { id: `r${n}`, host: `h${n % 7}` })
  for (const [n, id] of names.entries()) {
    world.insert('jobs', {
      id,
      service: `s${n % SERVICES}`,
      function: `f${n % 300}`,
      runner: `r${n % 300}`,
      attempt: n % 5,
      created_at: n,
      run_ms: n,
    })
  }
  const runners = from('runners').plan
  const joined: Plan = { op: 'join', kind: 'inner', left: jobs.plan, right: runners, on: [['runner', 'id']] }
  const perHost: Plan = { op: 'groupBy', input: joined, by: ['host'], aggregates: [['n', { op: 'count' }]] }
  const pairs: Plan = { op: 'distinct', input: jobs.select('id', 'function').plan }
  const perFunction: Plan = { op: 'groupBy', input: pairs, by: ['function'], aggregates: [['n', { op: 'count' }]] }

  test.each([
    [
      'groups',
      jobs.groupBy('service').aggregate({ middle: median('run_ms'), calls: count(), sum: sum('attempt') }).plan,
    ],
    ['a join', perHost],
    ['a window', jobs.window('created_at', JOBS).groupBy('service').count().plan],
    ['a set', perFunction],
  ])('of %s', (_, built) => {
    const plan = world.parse(built)
    const of = dividePlan(plan, { shards: 3, relations: RELATIONS, isKept: (relation) => relation === 'runners' })
    const whole = world.add({ plan })
    const pieces = [0, 1, 2].map((at) => world.flow.add(of.piece(at), world.hydrate(of.piece(at))))
    const merged = new Merged(of, { shards: 3, maxRows: 100_000 })
    merged.take(pieces.map((piece, at) => [at, world.flow.rows(piece)] as const))
    expect(merged.rows()).toEqual(world.flow.rows(whole))
    const most = Math.max(...pieces.map((piece) => world.flow.size(piece)))
    const share = (most + merged.held) / world.flow.size(whole)
    expect(share).toBeLessThanOrEqual(0.45)
  })
})
