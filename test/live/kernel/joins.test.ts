// Joins of the kernel: inner, left and anti, when rows of either side come and go.
import { expect, test } from 'vitest'
import { from } from '../../../src/protocol/from.ts'
import { World } from './world.ts'

const person = { e: 'int', name: 'text', age: 'int' } as const
const people = from('people', person)
const setup = () => new World({ own: { people: person, pairs: { a: 'text', b: 'text' } } })
const pairs = from('pairs', { a: 'text', b: 'text' })

test('a left join keeps a row without a match, an anti-join nothing else', () => {
  const world = setup()
  const right = pairs.select({ name: 'a', b: 'b' })
  const left = world.add(people.select('e', 'name').leftJoin(right, { on: 'name' }))
  const anti = world.add(people.select('e', 'name').antiJoin(right, { on: 'name' }))
  const both = () => {
    const { changes } = world.flow.flush()
    return [changes.get(left) ?? [], changes.get(anti) ?? []].map((list) => list.map(([row, diff]) => [...row, diff]))
  }
  world.insert('people', { e: 1, name: 'x' }, { e: 2 })
  expect(both()).toEqual([
    [
      [1, 'x', null, 1],
      [2, null, null, 1],
    ],
    [
      [1, 'x', 1],
      [2, null, 1],
    ],
  ])
  world.insert('pairs', { a: 'x', b: 'p' }, { a: 'x', b: 'q' }, { b: 'null matches nothing' })
  expect(both()).toEqual([
    [
      [1, 'x', 'p', 1],
      [1, 'x', 'q', 1],
      [1, 'x', null, -1],
    ],
    [[1, 'x', -1]],
  ])
  world.remove('pairs', { a: 'x', b: 'p' })
  world.insert('pairs', { a: 'x', b: 'r' })
  expect(both()).toEqual([
    [
      [1, 'x', 'p', -1],
      [1, 'x', 'r', 1],
    ],
    [],
  ])
  world.remove('pairs', { a: 'x', b: 'q' }, { a: 'x', b: 'r' })
  expect(both()).toEqual([
    [
      [1, 'x', 'q', -1],
      [1, 'x', 'r', -1],
      [1, 'x', null, 1],
    ],
    [[1, 'x', 1]],
  ])
})

test('a row that comes later meets each copy of the other side', () => {
  const world = setup()
  const query = world.add(pairs.select('a').join(people.select({ a: 'name' }), { on: 'a' }))
  world.insert('people', { e: 1, name: 'x' }, { e: 2, name: 'x' })
  world.flow.flush()
  world.insert('pairs', { a: 'x', b: '1' }, { a: 'x', b: '2' })
  expect(world.tick(query)).toEqual([['x', 4]])
  world.remove('people', { e: 1, name: 'x' })
  expect(world.tick(query)).toEqual([['x', -2]])
})
