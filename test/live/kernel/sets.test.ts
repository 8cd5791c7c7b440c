// Sets: unions and recursions hold each row once, for as long as something gives it.
import { expect, test } from 'vitest'
import { from } from '../../../src/protocol/from.ts'
import { World } from './world.ts'

const setup = () => new World({ own: { pairs: { a: 'text', b: 'text' } } })
const pairs = from('pairs', { a: 'text', b: 'text' })

test('a union removes duplicates, a unionAll keeps them', () => {
  const world = setup()
  const [left, right] = [pairs.where({ a: 'x' }), pairs.where({ b: 'y' })]
  const [union, all, none] = [left.union(right), left.unionAll(right), left.union(left)].map((one) => world.add(one))
  world.insert('pairs', { a: 'x', b: 'y' }, { a: 'x', b: 'z' }, { a: 'u', b: 'v' })
  const { changes } = world.flow.flush()
  expect([union, all, none].map((query) => query && changes.get(query))).toEqual([
    [
      [['x', 'y'], 1],
      [['x', 'z'], 1],
    ],
    [
      [['x', 'y'], 2],
      [['x', 'z'], 1],
    ],
    [
      [['x', 'y'], 1],
      [['x', 'z'], 1],
    ],
  ])
  world.remove('pairs', { a: 'x', b: 'y' }, { a: 'x', b: 'z' })
  world.insert('pairs', { a: 'u', b: 'v' })
  expect(world.flow.flush().changes.size).toBe(3)
  expect(world.rows(world.add(left.union(right)))).toEqual([])
})

test('a recursion finds what follows, and forgets what only a cycle holds up', () => {
  const world = setup()
  const reachable = pairs
    .where({ a: 'root' })
    .select({ at: 'b' })
    .recurse((found) => found.join(pairs.select({ at: 'a', next: 'b' }), { on: 'at' }).select({ at: 'next' }))
  const query = world.add(reachable)
  world.insert(
    'pairs',
    { a: 'root', b: '1' },
    { a: '1', b: '2' },
    { a: '2', b: '3' },
    { a: '3', b: '1' },
    { a: '7', b: '8' },
  )
  expect(world.tick(query)).toEqual([
    ['1', 1],
    ['2', 1],
    ['3', 1],
  ])
  world.insert('pairs', { a: 'root', b: '3' })
  expect(world.tick(query)).toEqual([])
  world.remove('pairs', { a: 'root', b: '1' })
  expect(world.tick(query)).toEqual([])
  world.remove('pairs', { a: 'root', b: '3' })
  expect(world.tick(query)).toEqual([
    ['1', -1],
    ['2', -1],
    ['3', -1],
  ])
  expect(world.flow.size(query)).toBeLessThan(20)
})

test('a derivation that takes the place of another within a tick does not hold up a cycle', () => {
  const world = setup()
  const step = pairs.select({ at: 'a', next: 'b' })
  const query = world.add(
    pairs
      .where({ a: 'root' })
      .select({ at: 'b' })
      .recurse((found) => found.join(step, { on: 'at' }).select({ at: 'next' }).distinct()),
  )
  world.insert('pairs', { a: 'root', b: '0' }, { a: '0', b: '1' }, { a: '1', b: '2' })
  expect(world.tick(query)).toHaveLength(3)
  world.insert('pairs', { a: '2', b: '1' })
  world.remove('pairs', { a: '0', b: '1' })
  expect(world.tick(query)).toEqual([
    ['1', -1],
    ['2', -1],
  ])
})
