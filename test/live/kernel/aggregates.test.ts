// What groupBy computes: exact, and exactly undone when rows go.
import { expect, test } from 'vitest'
import { avg, count, max, median, min, p50, p95, rate, sum, variance } from '../../../src/protocol/aggregation.ts'
import { is } from '../../../src/protocol/condition.ts'
import { from } from '../../../src/protocol/from.ts'
import { World } from './world.ts'

const person = { e: 'int', name: 'text', age: 'int' } as const
const people = from('people', person)
const setup = () => new World({ own: { people: person } })

const monsters = [
  ['hydra', 6],
  ['hydra', 6],
  ['cerberus', 3],
  ['medusa', 1],
  ['cyclops', 1],
  ['chimera', 3],
].map(([name, age], e) => ({ e, name, age }))

test('count counts copies, and nulls only without a column', () => {
  const world = setup()
  const query = world.add(people.groupBy('name').aggregate({ rows: count(), ages: count('age') }))
  world.insert(
    'people',
    { e: 1, name: 'a', age: 1 },
    { e: 1, name: 'a', age: 1 },
    { e: 2, name: 'a' },
    { e: 3, age: 9 },
  )
  expect(world.tick(query)).toEqual([
    ['a', 3, 2, 1],
    [null, 1, 1, 1],
  ])
})

test('all aggregates at once, of the whole and by key, in the order that was asked for', () => {
  const world = setup()
  const asked = {
    v: variance('age'),
    lo: min('age'),
    n: count(),
    m: avg('age'),
    hi: max('age'),
    mid: median('age'),
    s: sum('age'),
  }
  const whole = world.add(people.groupBy().aggregate(asked))
  const byName = world.add(people.groupBy('name').aggregate({ mid: median('age'), s: sum('age') }))
  expect(world.rows(whole)).toEqual([[null, null, 0, null, null, null, null, 1]])
  world.insert('people', ...monsters)
  const { changes } = world.flow.flush()
  expect(changes.get(whole)).toHaveLength(2)
  expect(world.rows(whole)).toEqual([[(6 * 92 - 400) / 36, 1, 6, 20 / 6, 6, 3, 20, 1]])
  expect(world.rows(byName).find(([name]) => name === 'hydra')).toEqual(['hydra', 6, 12, 1])
  world.remove('people', ...monsters)
  world.flow.flush()
  expect(world.rows(whole)).toEqual([[null, null, 0, null, null, null, null, 1]])
  expect(world.rows(byName)).toEqual([])
})

test('a rate is the share of rows that fit, a percentile the bound of its bucket', () => {
  const world = setup()
  const query = world.add(
    people
      .groupBy()
      .aggregate({ bad: rate(is('name', '=', 'bad'), is('age', '>', 0)), half: p50('age'), most: p95('age') }),
  )
  world.insert('people', ...Array.from({ length: 100 }, (_, e) => ({ e, name: e < 11 ? 'bad' : 'good', age: 10 * e })))
  world.flow.flush()
  expect(world.rows(query)).toEqual([[10 / 99, 491, 943, 1]])
})

test('a median is the lower one of two in the middle, of the values that there are', () => {
  const world = setup()
  const query = world.add(
    people.groupBy('name').aggregate({ mid: median('age'), least: min('age'), ninth: p95('age') }),
  )
  world.insert('people', { e: 1, age: 1 }, { e: 2, age: 2 }, { e: 3, age: 3 }, { e: 4, age: 9 }, { e: 5 }, { e: 6 })
  expect(world.tick(query)).toEqual([[null, 2, 1, 9, 1]])
  world.remove('people', { e: 1, age: 1 })
  expect(world.tick(query)).toEqual([
    [null, 2, 1, 9, -1],
    [null, 3, 2, 9, 1],
  ])
})
