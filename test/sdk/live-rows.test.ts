// Rows as they are shown: typed by their plan, whole numbers of 64 bits as bigints, in the order that the plan asks for.
import { beforeAll, expect, expectTypeOf, test } from 'vitest'
import { planText } from '../../src/protocol/plan.ts'
import {
  avg,
  count,
  from,
  max,
  plus,
  sum,
  type JobState,
  type LiveChange,
  type LiveQuery,
  type LiveRow,
  type RowOf,
} from '../../src/sdk/index.ts'
import { FAILING, setupLive as setup } from './fake-peer.ts'
import { fakeTime, pass, settle } from './fake-plane.ts'

// What is loaded with the first use takes real time, which the tests hold still.
beforeAll(() => import('../../src/sdk/live-client.ts'))

const MACHINES = { name: 'text', cores: 'int', bytes: 'int64', seen_at: 'time' } as const

test('rows have the types of the plan, and a column that there is not is an error of the compiler', async () => {
  const { live } = setup()
  const failing = await live.register('failing', FAILING)
  expectTypeOf(failing).toEqualTypeOf<LiveQuery<{ service: string; count: number }>>()
  expectTypeOf<RowOf<typeof failing>>().toEqualTypeOf<{ service: string; count: number }>()
  const loop = live.watch(failing)
  expectTypeOf(loop.next).returns.resolves.toEqualTypeOf<
    IteratorResult<LiveChange<{ service: string; count: number }>, undefined>
  >()
  expectTypeOf<LiveChange<{ n: bigint }>['diffs']>().toEqualTypeOf<
    readonly (readonly [row: { n: bigint }, diff: number])[]
  >()
  const slow = await live.register('slow', from('jobs').select('id', 'state', 'finished_at'))
  expectTypeOf<RowOf<typeof slow>>().toEqualTypeOf<{ id: string; state: JobState; finished_at: number | null }>()
  const machines = await live.createRelation('machines', MACHINES)
  const all = await live.register('all', from(machines.name, machines.columns))
  expectTypeOf<RowOf<typeof all>['bytes']>().toEqualTypeOf<bigint | null>()
  live.watch(failing, {
    onChange: ({ rows }) => expectTypeOf(rows).toEqualTypeOf<readonly { service: string; count: number }[]>(),
    onError: () => {},
  })
  expectTypeOf(live.watch('failing').next).returns.resolves.toEqualTypeOf<
    IteratorResult<LiveChange<LiveRow>, undefined>
  >()
  for await (const { rows, diffs } of loop) {
    const wrong = () => [
      // @ts-expect-error it has no such column
      rows[0]?.function,
      // @ts-expect-error nor has a row that came
      diffs[0]?.[0].state,
      // @ts-expect-error a count is a number
      rows[0]?.count.toUpperCase(),
    ]
    expect(wrong).toBeTypeOf('function')
    break
  }
  const wrong = () => [
    // @ts-expect-error jobs have no such column
    live.register('x', from('jobs').where({ sate: 'failed' })),
    // @ts-expect-error a failing job is no machine
    machines.insert({ service: 'a' }),
    // @ts-expect-error bytes are a bigint
    machines.insert({ bytes: 5 }),
    // @ts-expect-error callbacks are told of errors
    live.watch(failing, { onChange: () => {} }),
    // @ts-expect-error not a type of a column
    live.createRelation('x', { name: 'string' }),
  ]
  expect(wrong).toBeTypeOf('function')
})

const machines = () => from('machines', MACHINES)
const PLANS: [string, { plan: Parameters<typeof planText>[0] }, wide: string[]][] = [
  ['a relation', machines(), ['bytes']],
  ['chosen and renamed', machines().select({ size: 'bytes', bytes: 'name' }), ['size']],
  ['calculated', machines().map({ double: plus('bytes', 'bytes'), more: plus('cores', 1) }), ['bytes', 'double']],
  [
    'kept by where, window and distinct',
    machines().where({ name: 'a' }).window('seen_at', 1_000).distinct(),
    ['bytes'],
  ],
  [
    'grouped',
    machines()
      .groupBy('bytes')
      .aggregate({ n: count(), sum: sum('bytes'), top: max('bytes'), cores: sum('cores'), mean: avg('bytes') }),
    ['bytes', 'sum', 'top'],
  ],
  [
    'joined',
    from('jobs')
      .select('service')
      .leftJoin(machines(), { on: [['service', 'name']], prefix: 'm_' }),
    ['m_bytes'],
  ],
  ['joined on', from('sizes', { bytes: 'int64', label: 'text' }).join(machines(), { on: 'bytes' }), ['bytes']],
  [
    'joined on one whose name is a text here',
    from('sizes', { size: 'int64', bytes: 'text' }).join(machines(), { on: [['size', 'bytes']] }),
    ['size'],
  ],
  ['without a match', machines().antiJoin(machines(), { on: 'bytes' }), ['bytes']],
  ['of several', machines().union(machines()).unionAll(machines()), ['bytes']],
  ['recursive', machines().recurse((found) => found.where('cores', '>', 1)), ['bytes']],
  ['of jobs', from('jobs').groupBy('service').count(), []],
]
const COLUMNS = ['name', 'cores', 'bytes', 'size', 'double', 'more', 'n', 'sum', 'top', 'mean', 'm_bytes']
const DIGITS = Object.fromEntries(COLUMNS.map((name) => [name, '9007199254740993']))

test.each(PLANS)('an int64 is a bigint, and a text of digits stays one: %s', async (_, query, wide) => {
  const { peer, live } = setup()
  const registered = await live.register('q', query as typeof FAILING)
  peer.change('q', [DIGITS, 1], [{ ...DIGITS, name: null }, 1])
  const { value } = await live.watch(registered).next()
  const expected = Object.fromEntries(
    COLUMNS.map((name) => [name, wide.includes(name) ? 9007199254740993n : '9007199254740993']),
  )
  expect(value?.rows[0]).toEqual(expected)
  expect(value?.diffs[0]).toEqual([expected, 1])
  expect((await live.watch('q').next()).value?.rows[0]).toEqual(DIGITS)
})

test('rows come in the order that the plan asks for, its ties by all columns, nulls last', async () => {
  const { peer, live } = setup()
  const top = await live.register('top', from('jobs').select('id', 'run_ms').orderBy('run_ms', 'asc').limit(9))
  const rows = [
    { id: 'd', run_ms: null },
    { id: 'b', run_ms: 9 },
    { id: 'c', run_ms: 10 },
    { id: 'a', run_ms: 9 },
  ]
  peer.change('top', ...rows.map((row) => [row, 1] as const))
  const ids = async (query: typeof top) => (await live.watch(query).next()).value?.rows.map(({ id }) => id)
  expect(await ids(top)).toEqual(['a', 'b', 'c', 'd'])
  const down = await live.register('down', from('jobs').select('id', 'run_ms').orderBy('run_ms', 'desc').limit(9))
  peer.change('down', ...rows.map((row) => [row, 1] as const))
  expect(await ids(down)).toEqual(['d', 'c', 'a', 'b'])
})

test('bigints are ordered as numbers', async () => {
  const { peer, live } = setup()
  const top = await live.register('top', from('machines', MACHINES).orderBy('bytes').limit(9))
  peer.change('top', [{ bytes: '9' }, 1], [{ bytes: '10' }, 1], [{ bytes: '-1' }, 1])
  expect((await live.watch(top).next()).value?.rows.map(({ bytes }) => bytes)).toEqual([-1n, 9n, 10n])
})

test('the order in which a peer writes the columns of a row means nothing', async () => {
  const { peer, live } = setup()
  const loop = live.watch(await live.register('failing', FAILING))
  peer.change('failing', [{ service: 'a', count: 1 }, 1])
  await loop.next()
  const next = loop.next()
  peer.change('failing', [{ count: 1, service: 'a' }, -1], [{ count: 2, service: 'a' }, 1])
  expect((await next).value?.rows).toEqual([{ service: 'a', count: 2 }])
})

test('rows of a relation of one’s own come and go, each request in one tick', async () => {
  const { peer, live } = setup()
  const machines = await live.createRelation('machines', MACHINES, { semantics: 'last_write_wins', key: ['name'] })
  expect(peer.asked('CreateAttribute')).toEqual([
    {
      name: 'machines',
      columns: Object.entries(MACHINES).map(([name, type]) => ({ name, type })),
      semantics: 'last_write_wins',
      key: ['name'],
    },
  ])
  await machines.insert({ name: 'a', bytes: 2n ** 62n }, { name: 'b' })
  await machines.remove({ name: 'b' })
  await machines.transact([{ name: 'a', cores: 4 }, 2], [{ name: 'c' }, -1])
  await machines.insert()
  const row = (row: object, diff: number) => ({ relation: 'machines', row, diff })
  expect(peer.asked('Transact')).toEqual([
    { changes: [row({ name: 'a', bytes: String(2n ** 62n) }, 1), row({ name: 'b' }, 1)] },
    { changes: [row({ name: 'b' }, -1)] },
    { changes: [row({ name: 'a', cores: 4 }, 2), row({ name: 'c' }, -1)] },
  ])
  await live.closeRelation('machines')
  expect(peer.asked('CloseInput')).toEqual([{ name: 'machines' }])
  expect(await live.status()).toMatchObject({ peer: 'fake', clients: 1 })
})

test('rows whose answer was lost are not sent again: they may be there', async () => {
  fakeTime()
  const { peer, live } = setup()
  const machines = await live.createRelation('machines', MACHINES)
  peer.silent.add('Transact')
  const inserted = expect(machines.insert({ name: 'a' })).rejects.toMatchObject({
    code: 'plane_unreachable',
    message: expect.stringContaining('it may have been done, or not') as string,
  })
  await settle()
  peer.open[0]?.cut()
  await pass(1_000)
  await inserted
  expect(peer.asked('Transact')).toHaveLength(1)
})

test('what can be said twice is, and the second answer counts', async () => {
  fakeTime()
  const { peer, live } = setup()
  peer.silent.add('Register')
  const registered = live.register('failing', FAILING)
  await settle()
  peer.open[0]?.cut()
  peer.silent.clear()
  await pass(1_000)
  await registered
  expect(peer.asked('Register')).toHaveLength(2)
  // It is done, and the answer is lost.
  peer.silent.add('Unregister')
  const unregistered = live.unregister('failing')
  await settle()
  peer.drop('failing')
  peer.open[0]?.cut()
  peer.silent.clear()
  await pass(1_000)
  await unregistered
  await expect(live.unregister('failing')).rejects.toMatchObject({ code: 'not_found' })
})

test('a request that is too long for a frame is refused here', async () => {
  const { peer, live } = setup()
  const texts = await live.createRelation('texts', { text: 'text' })
  await expect(texts.insert({ text: 'é'.repeat(600_000) })).rejects.toMatchObject({ code: 'payload_too_large' })
  expect(peer.asked('Transact')).toEqual([])
  await texts.insert({ text: 'x'.repeat(900_000) })
})
