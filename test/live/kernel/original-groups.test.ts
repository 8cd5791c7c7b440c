// The behaviours of the declarative-dataflow server that this grew out of: aggregates, and unions.
import { describe, expect, test } from 'vitest'
import { avg, count, max, median, min, sum, variance } from '../../../src/protocol/aggregation.ts'
import { from } from '../../../src/protocol/from.ts'
import { World } from './world.ts'

const AMOUNT = { e: 'int', amount: 'int' } as const
const amounts = from('amounts', AMOUNT)
const AMOUNTS = [
  [1, 5],
  [1, 2],
  [1, 4],
  [1, 6],
  [2, 10],
  [2, 10],
].map(([e, amount]) => ({ e, amount }))

const setup = () => new World({ own: { amounts: AMOUNT } })

test('a count is of all copies of a row, unless they are made one before', () => {
  const world = setup()
  const queries = [amounts, amounts.distinct()].flatMap((rows) => [
    world.add(rows.groupBy().count()),
    world.add(rows.groupBy('e').count()),
  ])
  world.insert('amounts', ...AMOUNTS)
  expect(world.ticks(...queries)).toEqual([
    [
      [0, -1],
      [6, 1],
    ],
    [
      [1, 4, 1],
      [2, 2, 1],
    ],
    [
      [0, -1],
      [5, 1],
    ],
    [
      [1, 4, 1],
      [2, 1, 1],
    ],
  ])
})

test.each([
  ['max', max('amount'), 10, 6, 10],
  ['min', min('amount'), 2, 2, 10],
  ['sum', sum('amount'), 37, 17, 20],
  ['avg', avg('amount'), 37 / 6, 17 / 4, 10],
  ['variance', variance('amount'), 317 / 36, 35 / 16, 0],
  // The lower of two in the middle; the server took the upper one, of the values without their copies.
  ['median', median('amount'), 5, 4, 10],
] as const)('%s of all rows, and by a key', (_, of, whole, first, second) => {
  const world = setup()
  const [all, byKey] = [amounts.groupBy(), amounts.groupBy('e')].map((groups) => world.add(groups.aggregate({ of })))
  if (all === undefined || byKey === undefined) throw new Error('two were added')
  world.insert('amounts', ...AMOUNTS)
  expect(world.ticks(all, byKey)).toEqual([
    [
      [whole, 1],
      [null, -1],
    ],
    [
      [1, first, 1],
      [2, second, 1],
    ],
  ])
})

test('several aggregates of one plan line up by their key, in the order that was asked for, also twice of one column', () => {
  const world = setup()
  const query = world.add(
    amounts
      .groupBy('e')
      .aggregate({ most: max('amount'), rows: count(), least: min('amount'), again: max('amount') })
      .select('least', 'e', 'most', 'again', 'rows'),
  )
  world.insert('amounts', ...AMOUNTS)
  expect(world.tick(query)).toEqual([
    [2, 1, 6, 6, 4, 1],
    [10, 2, 10, 10, 2, 1],
  ])
})

test('equal values of different rows count each', () => {
  const columns = { monster: 'text', heads: 'int' } as const
  const world = new World({ own: { monsters: columns } })
  const query = world.add(from('monsters', columns).groupBy().sum('heads'))
  world.insert(
    'monsters',
    { monster: 'Cerberus', heads: 3 },
    { monster: 'Medusa', heads: 1 },
    { monster: 'Cyclops', heads: 1 },
    { monster: 'Chimera', heads: 1 },
  )
  expect(world.tick(query)).toEqual([
    [6, 1],
    [null, -1],
  ])
})

describe('a union', () => {
  const NAME = { e: 'int', name: 'text' } as const
  const AGE = { e: 'int', age: 'int' } as const
  const [name, age] = [from('name', NAME), from('age', AGE)]
  const people = () => new World({ own: { name: NAME, age: AGE } })

  test('gives what either branch gives, and what both give once', () => {
    const world = people()
    const query = world.add(name.select('e').union(age.select('e')))
    world.insert('name', { e: 1, name: 'Dipper' }, { e: 1, name: 'Alias' }, { e: 2, name: 'Mabel' })
    world.insert('age', { e: 1, age: 12 }, { e: 3, age: 22 })
    expect(world.tick(query)).toEqual([
      [1, 1],
      [2, 1],
      [3, 1],
    ])
    world.remove('name', { e: 1, name: 'Dipper' }, { e: 1, name: 'Alias' })
    expect(world.tick(query)).toEqual([])
    world.remove('age', { e: 1, age: 12 })
    expect(world.tick(query)).toEqual([[1, -1]])
  })

  test('of a branch that is empty gives the other', () => {
    const world = people()
    const query = world.add(name.where({ name: 'Soos' }).select('e').union(age.select('e')))
    world.insert('name', { e: 1, name: 'Dipper' })
    world.insert('age', { e: 2, age: 12 }, { e: 2, age: 13 })
    expect(world.tick(query)).toEqual([[2, 1]])
  })

  test('of two that are empty says nothing at all', () => {
    const world = people()
    const query = world.add(name.where({ name: 'Soos' }).union(name.where({ name: 'Wendy' })))
    world.insert('name', { e: 1, name: 'Dipper' }, { e: 2, name: 'Mabel' })
    expect(world.flow.flush().changes.size).toBe(0)
    expect(world.rows(query)).toEqual([])
  })

  test('has branches of several patterns that must all match', () => {
    const world = people()
    const twelve = name.where({ name: 'Dipper' }).join(age.where({ age: 12 }), { on: 'e' })
    const thirteen = name.where({ name: 'Mabel' }).join(age.where({ age: 13 }), { on: 'e' })
    const query = world.add(twelve.union(thirteen))
    world.insert('name', { e: 1, name: 'Dipper' }, { e: 2, name: 'Mabel' }, { e: 3, name: 'Mabel' })
    world.insert('age', { e: 1, age: 12 }, { e: 2, age: 12 }, { e: 3, age: 13 })
    expect(world.tick(query)).toEqual([
      [1, 'Dipper', 12, 1],
      [3, 'Mabel', 13, 1],
    ])
  })

  test('joins what surrounds it by the one variable that its branches share', () => {
    const world = people()
    const either = name
      .where({ name: 'Mabel' })
      .select('e')
      .union(age.where('age', '<', 13).select('e'))
    const query = world.add(name.join(either, { on: 'e' }))
    world.insert('name', { e: 1, name: 'Dipper' }, { e: 2, name: 'Mabel' }, { e: 3, name: 'Soos' })
    world.insert('age', { e: 1, age: 12 }, { e: 2, age: 12 }, { e: 3, age: 22 }, { e: 4, age: 3 })
    expect(world.tick(query)).toEqual([
      [1, 'Dipper', 1],
      [2, 'Mabel', 1],
    ])
  })
})
