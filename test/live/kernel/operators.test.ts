// Each operator of the kernel: what it answers when rows come and go.
import { expect, test } from 'vitest'
import { and, is, not, or } from '../../../src/protocol/condition.ts'
import { from } from '../../../src/protocol/from.ts'
import { truncate } from '../../../src/protocol/expression.ts'
import { World } from './world.ts'

const person = { e: 'int', name: 'text', age: 'int' } as const
const people = from('people', person)
const setup = () => new World({ own: { people: person } })

test('an update is the old row gone and the new one come, and back again is the reverse', () => {
  const world = setup()
  const query = world.add(people)
  const [a, b] = [
    { e: 1, name: 'a' },
    { e: 1, name: 'b' },
  ]
  world.insert('people', a)
  expect(world.tick(query)).toEqual([[1, 'a', null, 1]])
  for (const [old, now] of [
    [a, b],
    [b, a],
  ] as const) {
    world.remove('people', old)
    world.insert('people', now)
    expect(world.tick(query)).toHaveLength(2)
  }
  world.remove('people', a)
  world.insert('people', a)
  expect(world.tick(query)).toEqual([])
  expect(world.rows(query)).toEqual([[1, 'a', null, 1]])
})

test('a time is cut down to its unit, in UTC, with weeks from Monday', () => {
  const world = setup()
  const units = ['minute', 'hour', 'day', 'week'] as const
  const query = world.add(
    from('jobs')
      .map(Object.fromEntries(units.map((unit) => [unit, truncate('created_at', unit)])))
      .select('id', ...units),
  )
  const at = (text: string) => Date.parse(`${text}Z`)
  world.insert(
    'jobs',
    { id: 'a', created_at: at('2026-11-22T04:36:59.999') },
    { id: 'b', created_at: at('1969-12-29T00:00:01') },
  )
  expect(world.tick(query)).toEqual([
    ['a', ...['2026-11-22T04:36', '2026-11-22T04:00', '2026-11-22T00:00', '2026-11-16T00:00'].map(at), 1],
    ['b', ...['1969-12-29T00:00', '1969-12-29T00:00', '1969-12-29T00:00', '1969-12-29T00:00'].map(at), 1],
  ])
})

test('the first rows of an order, ties by the whole row, nulls last', () => {
  const world = setup()
  const query = world.add(people.select('e', 'age').orderBy('age', 'desc').limit(2))
  world.insert('people', { e: 3, age: 5 }, { e: 2, age: 5 }, { e: 1, age: 4 })
  expect(world.tick(query)).toEqual([
    [2, 5, 1],
    [3, 5, 1],
  ])
  world.remove('people', { e: 2, age: 5 })
  expect(world.tick(query)).toEqual([
    [1, 4, 1],
    [2, 5, -1],
  ])
  world.insert('people', { e: 9, age: 3 })
  expect(world.tick(query)).toEqual([])
  world.insert('people', { e: 8 })
  world.flow.flush()
  expect(world.rows(query)).toEqual([
    [8, null, 1],
    [3, 5, 1],
  ])
})

test('a window holds the rows of its time, moved by the clock alone', () => {
  const world = new World({ nowMs: 1_000 })
  const query = world.add(from('jobs').window('created_at', 100).select('id'))
  world.insert(
    'jobs',
    { id: 'old', created_at: 900 },
    { id: 'now', created_at: 1_000 },
    { id: 'next', created_at: 1_050 },
    { id: 'none' },
  )
  expect(world.tick(query)).toEqual([['now', 1]])
  world.flow.advance(1_050)
  expect(world.tick(query)).toEqual([['next', 1]])
  world.flow.advance(1_100)
  expect(world.tick(query)).toEqual([['now', -1]])
  expect(() => world.flow.advance(1_099)).toThrow('cannot go back')
  world.flow.advance(1_100)
  world.remove('jobs', { id: 'now', created_at: 1_000 })
  world.insert('jobs', { id: 'late', created_at: 1_001 })
  expect(world.tick(query)).toEqual([['late', 1]])
})

test('a comparison with null is unknown, and so is its contrary', () => {
  const world = setup()
  const of = [
    people.where('age', '=', 1),
    people.where(not(is('age', '=', 1))),
    people.where(or(is('age', '=', 1), is('e', '=', 1))),
    people.where(not(and(is('age', '=', 1), is('e', '=', 2)))),
    people.where({ age: [1, 2] }),
    people.where({ age: null }),
    people.where('age', '<=', 1),
  ].map((built) => world.add(built))
  world.insert('people', { e: 1 })
  expect(world.ticks(...of).map((changes) => changes.length)).toEqual([0, 0, 1, 1, 0, 1, 0])
})

test('a copy of the last that is shown moves the rows behind it', () => {
  const world = setup()
  const query = world.add(people.select('age').orderBy('age').limit(2))
  world.insert('people', { e: 1, age: 1 }, { e: 2, age: 2 }, { e: 3, age: 2 }, { e: 4, age: 3 })
  world.flow.flush()
  world.remove('people', { e: 2, age: 2 }, { e: 3, age: 2 })
  expect(world.tick(query)).toEqual([
    [2, -1],
    [3, 1],
  ])
})
