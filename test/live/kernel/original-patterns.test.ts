// The behaviours of the declarative-dataflow server that this grew out of: patterns of attributes, and joins of them. An
// attribute is a relation of an entity and a value here, a pattern is a `where` and a `select`.
//
// Left out: reads of nested entities, which plans do not have, and the planning of joins of many at once, which are joined
// two by two.
import { describe, expect, test } from 'vitest'
import { column, truncate } from '../../../src/protocol/expression.ts'
import { from } from '../../../src/protocol/from.ts'
import { World } from './world.ts'

const NAME = { e: 'int', name: 'text' } as const
const AGE = { e: 'int', age: 'int' } as const
const LIKES = { e: 'int', likes: 'text' } as const
const KNOWS = { e: 'int', knows: 'int' } as const
const ADMIN = { e: 'int', admin: 'bool' } as const
const setup = () =>
  new World({ own: { name: NAME, age: AGE, likes: LIKES, knows: KNOWS, admin: ADMIN, asked: { e: 'int' } } })

const [name, age, likes] = [from('name', NAME), from('age', AGE), from('likes', LIKES)]
const [knows, admin, asked] = [from('knows', KNOWS), from('admin', ADMIN), from('asked', { e: 'int' })]

const NAMES = [
  { e: 100, name: 'Dipper' },
  { e: 100, name: 'Alias' },
  { e: 200, name: 'Mabel' },
]

test('a pattern without a constant, of an entity or of a value gives exactly the rows that match, each once, in their tick', () => {
  const world = setup()
  const patterns = [name, name.where({ e: 100 }).select('name'), name.where({ name: 'Mabel' }).select('e')]
  const queries = patterns.map((pattern) => world.add(pattern))
  world.insert('name', ...NAMES)
  expect(world.ticks(...queries)).toEqual([
    [
      [100, 'Alias', 1],
      [100, 'Dipper', 1],
      [200, 'Mabel', 1],
    ],
    [
      ['Alias', 1],
      ['Dipper', 1],
    ],
    [[200, 1]],
  ])
  world.insert('name', { e: 300, name: 'Soos' })
  expect(world.ticks(...queries)).toEqual([[[300, 'Soos', 1]], [], []])
  world.remove('name', { e: 200, name: 'Mabel' })
  expect(world.ticks(...queries)).toEqual([[[200, 'Mabel', -1]], [], [[200, -1]]])
})

test('a projection keeps multiplicity, and its columns are in the order that was asked for', () => {
  const world = setup()
  const [entities, turned] = [world.add(name.select('e')), world.add(name.select('name', 'e'))]
  world.insert('name', { e: 100, name: 'Dipper' }, { e: 100, name: 'Alias' })
  expect(world.ticks(entities, turned)).toEqual([
    [[100, 2]],
    [
      ['Alias', 100, 1],
      ['Dipper', 100, 1],
    ],
  ])
})

test('the same patterns give the same rows where a join brings the constants', () => {
  const world = setup()
  const joined = name.join(asked, { on: 'e' })
  const all = world.add(joined)
  const ofEntity = world.add(joined.where({ e: 100 }).select('name'))
  const ofValue = world.add(joined.where({ name: 'Mabel' }).select('e'))
  world.insert('name', ...NAMES, { e: 300, name: 'Soos' })
  expect(world.ticks(all, ofEntity, ofValue)).toEqual([[], [], []])
  world.insert('asked', { e: 100 }, { e: 200 })
  expect(world.ticks(all, ofEntity, ofValue)).toEqual([
    [
      [100, 'Alias', 1],
      [100, 'Dipper', 1],
      [200, 'Mabel', 1],
    ],
    [
      ['Alias', 1],
      ['Dipper', 1],
    ],
    [[200, 1]],
  ])
})

test('a join on the entity combines two attributes of the same entity, and of no other', () => {
  const world = setup()
  const query = world.add(name.join(age, { on: 'e' }))
  world.insert('name', { e: 1, name: 'Dipper' }, { e: 2, name: 'Mabel' }, { e: 3, name: 'Soos' })
  world.insert('age', { e: 1, age: 12 }, { e: 2, age: 12 }, { e: 4, age: 60 })
  expect(world.tick(query)).toEqual([
    [1, 'Dipper', 12, 1],
    [2, 'Mabel', 12, 1],
  ])
})

describe('joins of many attributes', () => {
  test('a star gives who has all of them', () => {
    const world = setup()
    const query = world.add(name.join(age, { on: 'e' }).join(likes, { on: 'e' }))
    world.insert('name', { e: 1, name: 'Dipper' }, { e: 2, name: 'Mabel' })
    world.insert('age', { e: 1, age: 12 }, { e: 2, age: 12 })
    world.insert('likes', { e: 2, likes: 'pigs' }, { e: 3, likes: 'gold' })
    expect(world.tick(query)).toEqual([[2, 'Mabel', 12, 'pigs', 1]])
    world.insert('likes', { e: 1, likes: 'maps' })
    expect(world.tick(query)).toEqual([[1, 'Dipper', 12, 'maps', 1]])
  })

  test('a constant on one of them keeps its entities alone', () => {
    const world = setup()
    const query = world.add(name.where({ name: 'Mabel' }).join(age, { on: 'e' }).select('e', 'age'))
    world.insert('name', { e: 1, name: 'Dipper' }, { e: 2, name: 'Mabel' }, { e: 3, name: 'Mabel' })
    world.insert('age', { e: 1, age: 12 }, { e: 2, age: 12 }, { e: 3, age: 80 })
    expect(world.tick(query)).toEqual([
      [2, 12, 1],
      [3, 80, 1],
    ])
  })

  test('an attribute joined with itself on its value gives all ordered pairs, each entity with itself among them', () => {
    const world = setup()
    const query = world.add(age.join(age.select({ other: 'e', age: 'age' }), { on: 'age' }).select('e', 'other'))
    world.insert('age', { e: 1, age: 12 }, { e: 2, age: 12 }, { e: 3, age: 60 })
    expect(world.tick(query)).toEqual([
      [1, 1, 1],
      [1, 2, 1],
      [2, 1, 1],
      [2, 2, 1],
      [3, 3, 1],
    ])
  })

  test('a chain of four goes through the two entities that they share', () => {
    const world = setup()
    const query = world.add(
      name
        .join(knows, { on: 'e' })
        .join(age.select({ knows: 'e', age: 'age' }), { on: 'knows' })
        .join(likes.select({ knows: 'e', likes: 'likes' }), { on: 'knows' }),
    )
    world.insert('name', { e: 1, name: 'Dipper' }, { e: 2, name: 'Mabel' })
    world.insert('knows', { e: 1, knows: 3 }, { e: 2, knows: 4 }, { e: 5, knows: 3 })
    world.insert('age', { e: 1, age: 12 }, { e: 3, age: 22 }, { e: 4, age: 15 })
    world.insert('likes', { e: 3, likes: 'trucks' })
    expect(world.tick(query)).toEqual([[1, 'Dipper', 3, 22, 'trucks', 1]])
  })

  test('a triangle is found by a join that compares both of its ends', () => {
    const world = setup()
    const second = knows.select({ knows: 'e', third: 'knows' })
    const closing = knows.select({ e: 'e', third: 'knows' })
    const ends = [
      ['e', 'e'],
      ['third', 'third'],
    ] as const
    const query = world.add(knows.join(second, { on: 'knows' }).join(closing, { on: ends }))
    const edges = [
      [1, 2],
      [2, 3],
      [1, 3],
      [3, 4],
      [4, 2],
      [5, 1],
    ].map(([e, other]) => ({ e, knows: other }))
    world.insert('knows', ...edges)
    expect(world.tick(query)).toEqual([[1, 2, 3, 1]])
    world.remove('knows', { e: 1, knows: 3 })
    expect(world.tick(query)).toEqual([[1, 2, 3, -1]])
  })

  test('a star of four gives who has all four', () => {
    const world = setup()
    const query = world.add(
      name.join(age, { on: 'e' }).join(likes, { on: 'e' }).join(admin, { on: 'e' }).select('e', 'name', 'admin'),
    )
    world.insert('name', { e: 1, name: 'Dipper' }, { e: 2, name: 'Mabel' })
    world.insert('age', { e: 1, age: 12 }, { e: 2, age: 12 })
    world.insert('likes', { e: 1, likes: 'maps' }, { e: 1, likes: 'codes' }, { e: 2, likes: 'pigs' })
    world.insert('admin', { e: 1, admin: false })
    expect(world.tick(query)).toEqual([[1, 'Dipper', false, 2]])
  })

  test('a value is compared with that of another entity', () => {
    const world = setup()
    const theirs = age.select({ knows: 'e', theirs: 'age' })
    const pairs = age.join(knows, { on: 'e' }).join(theirs, { on: 'knows' })
    const query = world.add(pairs.where('age', '<', column('theirs')).select('e', 'knows'))
    world.insert('age', { e: 1, age: 12 }, { e: 2, age: 20 }, { e: 3, age: 21 })
    world.insert('knows', { e: 1, knows: 2 }, { e: 2, knows: 1 }, { e: 3, knows: 3 })
    expect(world.tick(query)).toEqual([[1, 2, 1]])
  })

  test('a constant is compared with a value, on either side of it', () => {
    const world = setup()
    const [left, right] = [
      { op: 'literal', value: 20 },
      { op: 'column', name: 'age' },
    ]
    const younger = world.add({ plan: { op: 'where', input: age.plan, condition: { op: '>', left, right } } })
    const older = world.add(age.where('age', '>', 20))
    world.insert('age', { e: 1, age: 12 }, { e: 2, age: 20 }, { e: 3, age: 21 })
    expect(world.ticks(younger, older)).toEqual([[[1, 12, 1]], [[3, 21, 1]]])
  })

  test('a constant can be true or false', () => {
    const world = setup()
    const queries = [true, false].map((is) =>
      world.add(name.join(admin.where({ admin: is }), { on: 'e' }).select('name')),
    )
    world.insert('name', { e: 1, name: 'Dipper' }, { e: 2, name: 'Mabel' }, { e: 3, name: 'Soos' })
    world.insert('admin', { e: 1, admin: true }, { e: 2, admin: false }, { e: 3 })
    expect(world.ticks(...queries)).toEqual([[['Dipper', 1]], [['Mabel', 1]]])
  })
})

test('a join through an attribute with many values yields multiplicities', () => {
  const world = setup()
  const drinks = name.join(likes, { on: 'e' }).select('name', 'likes')
  const query = world.add(
    drinks.join(drinks.select({ other: 'name', likes: 'likes' }), { on: 'likes' }).select('name', 'other'),
  )
  world.insert('name', { e: 1, name: 'Ivan' }, { e: 2, name: 'Petr' })
  world.insert('likes', { e: 1, likes: 'tea' }, { e: 1, likes: 'rum' }, { e: 2, likes: 'rum' })
  expect(world.tick(query)).toEqual([
    ['Ivan', 'Ivan', 2],
    ['Ivan', 'Petr', 1],
    ['Petr', 'Ivan', 1],
    ['Petr', 'Petr', 1],
  ])
})

test('a query that is added after the data begins with the rows that are there, and says none of them again', () => {
  const world = setup()
  world.insert('name', ...NAMES)
  world.flow.flush()
  const query = world.add(name.where({ e: 100 }))
  expect(world.rows(query)).toEqual([
    [100, 'Alias', 1],
    [100, 'Dipper', 1],
  ])
  expect(world.tick(query)).toEqual([])
})

test('a join that is added after both sides came, in ticks of their own, begins with the joined row', () => {
  const world = setup()
  world.insert('name', { e: 1, name: 'Dipper' })
  world.flow.flush()
  world.insert('age', { e: 1, age: 12 })
  world.flow.flush()
  const query = world.add(name.join(age, { on: 'e' }))
  expect(world.rows(query)).toEqual([[1, 'Dipper', 12, 1]])
  expect(world.tick(query)).toEqual([])
})

test('a time is rounded down to its hour beside the columns that were there', () => {
  const world = new World({ own: { events: { id: 'int', at: 'time' } } })
  const query = world.add(from('events', { id: 'int', at: 'time' }).map({ hour: truncate('at', 'hour') }))
  const at = (text: string) => Date.parse(`${text}Z`)
  world.insert('events', { id: 1, at: at('2019-04-30T08:16:35.123') }, { id: 2, at: at('2019-04-30T09:00') }, { id: 3 })
  expect(world.tick(query)).toEqual([
    [1, at('2019-04-30T08:16:35.123'), at('2019-04-30T08:00'), 1],
    [2, at('2019-04-30T09:00'), at('2019-04-30T09:00'), 1],
    [3, null, null, 1],
  ])
})
