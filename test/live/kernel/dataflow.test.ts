// Many queries in one dataflow: what they share, what they read, and what becomes of one that goes wrong.
import { expect, test } from 'vitest'
import { count, sum } from '../../../src/protocol/aggregation.ts'
import { dividedBy, plus, times } from '../../../src/protocol/expression.ts'
import { from } from '../../../src/protocol/from.ts'
import { sourcesOf } from '../../../src/live/kernel/dataflow.ts'
import { relationsWith, World } from './world.ts'

const row = { id: 'int', k: 'text', n: 'int', big: 'int64', f: 'float', at: 'time' } as const
const rows = from('rows', row)
const OWN = { rows: row }
const setup = (options = {}) => new World({ own: OWN, ...options })

test('a plan reads the columns that it uses and the rows that fit, and nothing else', () => {
  const sources = (built: { plan: unknown }) =>
    sourcesOf(new World({ own: OWN }).parse(built.plan), relationsWith(OWN)).map(
      ({ relation, columns, where, since }) => ({
        relation,
        columns,
        where: where.map(({ op }) => op),
        since,
      }),
    )
  const jobs = from('jobs')
  expect(sources(jobs.where({ state: 'failed' }).groupBy('service', 'function').count())).toEqual([
    { relation: 'jobs', columns: ['service', 'function'], where: ['='], since: undefined },
  ])
  // Above the group, the join and the window, and on a renamed column.
  const late = jobs
    .select({ id: 'id', at: 'runner', end: 'finished_at' })
    .window('end', 500)
    .join(from('runners').select({ at: 'id', host: 'host' }), { on: 'at' })
    .where({ host: 'x' })
    .groupBy('at')
    .aggregate({ n: count(), unused: count('host') })
    .where({ at: 'r' })
    .select('n')
  expect(sources(late)).toEqual([
    { relation: 'jobs', columns: ['runner', 'finished_at'], where: ['='], since: undefined },
    { relation: 'runners', columns: ['id'], where: ['='], since: undefined },
  ])
  expect(sources(jobs.window('finished_at', 500).groupBy().count())).toEqual([
    { relation: 'jobs', columns: ['finished_at'], where: [], since: { column: 'finished_at', lengthMs: 500 } },
  ])
  // A left join needs its rows whole, and a top all columns to tell ties.
  expect(sources(jobs.select('id', 'state').orderBy('id').limit(1).where({ state: 'failed' }))).toEqual([
    { relation: 'jobs', columns: ['id', 'state'], where: [], since: undefined },
  ])
})

test('equal plans are one query, which needs no second hydration and ends with its last user', () => {
  const world = setup()
  const { plan } = rows.groupBy('k').count()
  world.insert('rows', { id: 1, k: 'a' })
  expect(world.flow.find(world.parse(plan))).toBeNull()
  const query = world.add({ plan })
  expect(world.flow.find(world.parse(plan))).toBe(query)
  expect(world.flow.add(world.parse(plan))).toBe(query)
  world.flow.remove(query)
  world.insert('rows', { id: 2, k: 'a' })
  expect(world.tick(query)).toEqual([
    ['a', 1, -1],
    ['a', 2, 1],
  ])
  world.flow.remove(query)
  expect(() => world.flow.rows(query)).toThrow('the query was removed')
  world.insert('rows', { id: 3, k: 'a' })
  expect(world.flow.flush().changes.size).toBe(0)
})

test('a hydration that lacks a source is our own fault, and leaves nothing behind', () => {
  const world = setup()
  const plan = world.parse(rows.plan)
  expect(() => world.flow.add(plan)).toThrow('the hydration lacks')
  expect(world.flow.find(plan)).toBeNull()
})

test('queries that differ by a constant are found by the values of the row', () => {
  const world = setup()
  const queries = Array.from({ length: 50 }, (_, n) => world.add(rows.where({ k: `k${n}`, n: n % 2 }).select('id')))
  const both = world.add(rows.where({ k: 'k7' }).where({ k: 'k8' }))
  world.insert('rows', { id: 1, k: 'k7', n: 1 }, { id: 2, k: 'k7', n: 0 }, { id: 3, k: 'k8', n: 0 }, { id: 4, n: 0 })
  const { changes } = world.flow.flush()
  expect([...changes.keys()]).toEqual([queries[7], queries[8]])
  expect(changes.get(queries[7] ?? both)).toEqual([[[1], 1]])
})

test('a query that holds too many rows is stopped at the same row everywhere, and the others go on', () => {
  const [world, twin] = [setup({ maxRows: 10 }), setup({ maxRows: 10 })]
  const all = [world, twin].map((one) => one.add(rows.select('id')))
  const counted = world.add(rows.groupBy('k').count())
  for (let id = 0; id < 12; id++) {
    for (const one of [world, twin]) one.insert('rows', { id, k: 'x' })
    const ticks = [world, twin].map((one) => one.flow.flush())
    const isOver = id === 10
    expect(ticks.map(({ stopped }) => stopped.length)).toEqual(isOver ? [1, 1] : [0, 0])
    expect(ticks[0]?.changes.has(counted)).toBe(true)
  }
  expect(all.map((query) => query.stopped?.message)).toEqual(
    Array(2).fill('the query was stopped: it holds more than 10 rows'),
  )
  expect(all[0]?.stopped?.code).toBe('query_stopped')
  expect(world.rows(counted)).toEqual([['x', 12, 1]])
})

test('a hydration over the bound gives a query that is stopped already', () => {
  const world = setup({ maxRows: 2 })
  world.insert('rows', { id: 1 }, { id: 2 }, { id: 3 })
  expect(world.add(rows).stopped?.code).toBe('query_stopped')
})

test('a recursion without end stops at its bound', () => {
  const world = setup({ maxRows: 100 })
  const upTo = (max: number) =>
    rows.select('n').recurse((found) =>
      found
        .where('n', '<', max)
        .map({ next: plus('n', 1) })
        .select({ n: 'next' }),
    )
  const [ends, endless] = [world.add(upTo(9)), world.add(upTo(1e9))]
  world.insert('rows', { n: 1 })
  expect(world.flow.flush().stopped).toEqual([endless])
  expect(endless.stopped?.message).toBe('the query was stopped: a recursion holds more than 100 rows')
  expect(world.rows(ends)).toHaveLength(9)
})

test.each([
  ['a division by zero', rows.map({ x: dividedBy('n', 'id') }), { id: 0, n: 1 }, 'division by zero'],
  ['a product beyond int', rows.map({ x: times('n', 'n') }), { n: 2 ** 40 }, 'a value is out of the range of int'],
  [
    'a product beyond int64',
    rows.map({ x: times('big', 'big') }),
    { big: String(2n ** 40n) },
    'out of the range of int64',
  ],
  ['a sum beyond int', rows.groupBy().sum('n'), { n: 2 ** 53 - 1 }, 'a sum is out of the range of int'],
  ['a sum beyond int64', rows.groupBy().sum('big'), { big: String(2n ** 63n - 1n) }, 'out of the range of int64'],
  ['a sum beyond float', rows.groupBy().sum('f'), { f: 1.7e308 }, 'out of the range of float'],
])('%s stops its query, and no other', (_, built, fields, message) => {
  const world = setup()
  const [wrong, right] = [world.add(built), world.add(rows.groupBy().count())]
  world.insert('rows', fields, { ...fields, k: 'again' })
  const { stopped, changes } = world.flow.flush()
  expect(stopped).toEqual([wrong])
  expect(wrong.stopped?.message).toContain(message)
  expect(changes.get(right)).toHaveLength(2)
  world.remove('rows', fields)
  expect(world.flow.flush().stopped).toEqual([])
  expect([world.rows(wrong), world.flow.size(wrong)]).toEqual([[], 0])
})

test('sums of floats do not depend on the order of their terms, and are undone exactly', () => {
  const world = setup()
  const query = world.add(rows.groupBy().aggregate({ s: sum('f') }))
  const terms = [1e300, 0.1, -1e300, 0.2, 5e-324, 1e-300]
  terms.forEach((f, id) => world.insert('rows', { id, f }))
  world.flow.flush()
  expect(world.rows(query)).toEqual([[0.30000000000000004, 1]])
  world.remove(
    'rows',
    { id: 0, f: 1e300 },
    { id: 2, f: -1e300 },
    { id: 1, f: 0.1 },
    { id: 3, f: 0.2 },
    { id: 5, f: 1e-300 },
  )
  world.flow.flush()
  expect(world.rows(query)).toEqual([[5e-324, 1]])
})

test('int64 is exact, and text is in the order of code points', () => {
  const world = setup()
  const first = world.add(rows.select('big', 'k').orderBy('big', 'desc').limit(1))
  const texts = world.add(
    rows.groupBy().aggregate({ least: { op: 'min', column: 'k' }, most: { op: 'max', column: 'k' } }),
  )
  world.insert('rows', { big: '9007199254740992', k: '😀' }, { big: '9007199254740993', k: '\uffff' })
  world.flow.flush()
  expect(world.rows(first)).toEqual([[9007199254740993n, '\uffff', 1]])
  expect(world.rows(texts)).toEqual([['\uffff', '😀', 1]])
})

test('a dataflow that loads a dump goes on as the one that dumped', () => {
  const [old, next] = [setup(), setup()]
  const { plan } = rows.groupBy('k').aggregate({ big: sum('big'), f: sum('f') })
  const query = old.add({ plan })
  old.insert('rows', { id: 1, k: 'a', big: '9007199254740993', f: 0.1 }, { id: 2, k: null, f: 0.2 })
  old.flow.flush()
  const taken = next.flow.load(next.parse(plan), JSON.parse(JSON.stringify(old.flow.dump(query))))
  expect(next.rows(taken)).toEqual(old.rows(query))
  for (const world of [old, next]) world.insert('rows', { id: 3, k: 'a', big: '1', f: 0.2 })
  expect(next.tick(taken)).toEqual(old.tick(query))
  expect(next.rows(taken)[0]).toEqual(['a', 9007199254740994n, 0.30000000000000004, 1])
})

test('what came and went within a tick is not said', () => {
  const world = setup()
  const queries = [rows, rows.select('k'), rows.groupBy('k').count(), rows.distinct()].map((built) => world.add(built))
  world.insert('rows', { id: 1, k: 'a' })
  world.remove('rows', { id: 1, k: 'a' })
  expect(world.flow.flush().changes.size).toBe(0)
  expect(queries.map((query) => world.flow.size(query))).toEqual([0, 0, 0, 0])
})
