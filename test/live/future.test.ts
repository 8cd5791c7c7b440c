// Rows that are given for a later time: they come once the log's time gets there, at every peer at the same place of it.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { appendTime, forgetTimes, isKept, readCommands, type Command } from '../../src/live/commands.ts'
import { Registry } from '../../src/live/registry.ts'
import { beginWatching } from '../../src/live/stamp.ts'
import { MAX_AHEAD_MS } from '../../src/protocol/limits.ts'
import { from } from '../../src/protocol/from.ts'
import { embeddedSql } from '../support/plane.ts'
import { newStage } from './stage.ts'

const COLUMNS = [
  { name: 'id', type: 'text' },
  { name: 'n', type: 'int' },
] as const
const raw = { CreateAttribute: { name: 'raw', columns: [...COLUMNS] } } satisfies Command
const last = {
  CreateAttribute: { name: 'last', columns: [...COLUMNS], semantics: 'last_write_wins', key: ['id'] },
} satisfies Command

const change = (relation: string, n: number, diff = 1) => ({ relation, row: { id: 'a', n }, diff })
const later = (at: number, ...changes: ReturnType<typeof change>[]): Command => ({ Transact: { changes, at } })

function setup(): Registry {
  const registry = new Registry()
  for (const command of [raw, last]) registry.apply(command, 1_000)
  return registry
}

const rows = (registry: Registry) => ['raw', 'last'].flatMap((name) => registry.rowsOf(name))
const made = (relation: string, n: number, diff = 1) => ({ relation, row: ['a', n], diff })

test('what is due comes in the order of its times, of equal times in that of the log, and before the command that it was due at', () => {
  const registry = setup()
  for (const [at, n] of [
    [3_000, 30],
    [2_000, 20],
    [3_000, 31],
    [2_500, 25],
    [4_000, 40],
  ] as const) {
    expect(registry.apply(later(at, change('raw', n)), 1_001)).toEqual({ changes: [], error: null })
  }
  expect(registry.nextMs).toBe(2_000)
  const now: Command = { Transact: { changes: [change('raw', 1)] } }
  expect(registry.apply(now, 3_000).changes).toEqual([20, 25, 30, 31, 1].map((n) => made('raw', n)))
  expect(registry.nextMs).toBe(4_000)
})

test('a time that has passed is now, and one that is too far off is refused', () => {
  const registry = setup()
  expect(registry.apply(later(1_000, change('raw', 1)), 1_000).changes).toEqual([made('raw', 1)])
  expect(registry.apply(later(900, change('raw', 2)), 1_000).changes).toEqual([made('raw', 2)])
  const refused = registry.apply(later(1_001 + MAX_AHEAD_MS, change('raw', 3)), 1_000)
  expect(refused).toMatchObject({
    changes: [],
    error: { code: 'invalid_request', message: expect.stringContaining('366 days') },
  })
  expect(registry.apply(later(1_000 + MAX_AHEAD_MS, change('raw', 3)), 1_000).error).toBeNull()
})

test('who sends rows for later hears at once what is wrong with them', () => {
  const registry = setup()
  for (const [wrong, code] of [
    [{ relation: 'none', row: {}, diff: 1 }, 'not_found'],
    [{ relation: 'raw', row: { id: 7 }, diff: 1 }, 'invalid_request'],
  ] as const) {
    const command: Command = { Transact: { changes: [change('raw', 1), wrong], at: 2_000 } }
    expect(registry.apply(command, 1_001)).toMatchObject({ changes: [], error: { code } })
  }
  expect(registry.nextMs).toBeNull()
})

test('what cannot come any more when it is due is left out, whole, and what follows it comes', () => {
  const registry = setup()
  registry.apply(later(2_000, change('last', 1), change('raw', 5, -1)), 1_001)
  registry.apply(later(2_000, change('raw', 6), change('raw', 6, -1), change('last', 2)), 1_001)
  registry.apply(later(3_000, change('last', 3), change('raw', 7)), 1_001)
  registry.apply(later(3_000, change('last', 4)), 1_001)
  expect(registry.apply({ Due: 2_000 }, 2_000).changes).toEqual([made('raw', 6), made('raw', 6, -1), made('last', 2)])
  registry.apply({ CloseInput: { name: 'raw' } }, 2_001)
  expect(registry.apply({ Due: 3_000 }, 3_000).changes).toEqual([made('last', 2, -1), made('last', 4)])
})

test('rows that wait count among those that a namespace holds', () => {
  const registry = setup()
  const changes = Array.from({ length: 1_000 }, () => change('raw', 1))
  for (let n = 0; n < 1_000; n++) registry.apply(later(n === 0 ? 2_000 : 3_000, ...changes), 1_001)
  for (const command of [later(2_000, change('raw', 1)), { Transact: { changes: [change('last', 1)] } }]) {
    expect(registry.apply(command, 1_001).error?.code).toBe('too_many_queries')
  }
  expect(registry.apply({ Due: 2_000 }, 2_000).changes).toHaveLength(1_000)
  expect(registry.apply({ Transact: { changes: [change('last', 1)] } }, 2_001).error).toBeNull()
})

const time = fc.integer({ min: 1_000, max: 1_020 })
const command = fc.oneof(
  fc
    .record({
      relation: fc.constantFrom('raw', 'last'),
      n: fc.integer({ min: 0, max: 2 }),
      diff: fc.constantFrom(1, 1, -1),
      at: time,
    })
    .map(({ relation, n, diff, at }) => later(at, change(relation, n, diff))),
  fc.constant<Command>({ Transact: { changes: [change('last', 9)] } }),
  time.map((ms): Command => ({ Time: ms })),
  time.map((ms): Command => ({ Due: ms })),
  fc.constant<Command>({ Put: { relation: 'services', row: { service: 's', function: 'f' } } }),
)

test('a peer that begins later, when what says the time to windows has gone, comes to the same rows at each command', () => {
  fc.assert(
    // A command can be stamped after one that was appended later: its time goes back.
    fc.property(fc.array(fc.tuple(command, time), { maxLength: 40 }), (log) => {
      const [early, late] = [setup(), setup()]
      for (const [one, atMs] of log) {
        early.apply(one, atMs)
        if (isKept(one)) late.apply(one, atMs)
        expect(rows(late)).toEqual(rows(early))
        expect(late.nextMs).toBe(early.nextMs)
      }
    }),
    { numRuns: 300 },
  )
})

test('what said that rows are due stays in the log, for whoever begins later', async () => {
  const sql = await embeddedSql()
  const namespace = `due_${process.pid}`
  await beginWatching(sql, namespace)
  await appendTime(sql, namespace, crypto.randomUUID(), 'Time')
  const atMs = await appendTime(sql, namespace, crypto.randomUUID(), 'Due')
  await forgetTimes(sql, namespace, { keptMs: 0 })
  await sql('update callplane.events set tick = 1 where namespace = $1', [namespace])
  expect(await readCommands(sql, namespace, { until: 1 })).toEqual([{ command: { Due: atMs }, atMs }])
})

const plan = from('last', { id: 'text', n: 'int' }).plan
const inMs = (ms: number): number => Date.now() + ms

async function watching() {
  const stage = await newStage()
  const client = await stage.connect()
  await client.askAll([
    ['CreateAttribute', last.CreateAttribute],
    ['Register', { name: 'values', plan }],
    ['Interest', { name: 'values' }],
  ])
  return { stage, client }
}

test('a row comes by itself when its time has come, to every peer at the same tick', { timeout: 20_000 }, async () => {
  const { stage, client } = await watching()
  const there = await (await newStage()).connect({ key: stage.namespace })
  await there.ask('Interest', { name: 'values' })
  const at = inMs(1_500)
  expect(await client.ask('Transact', { changes: [change('last', 1)], at })).toHaveProperty('Ok')
  const first = await client.next((result) => 'QueryDiff' in result)
  expect(Date.now()).toBeGreaterThanOrEqual(at)
  expect(first).toMatchObject({ QueryDiff: ['values', [[{ id: 'a', n: 1 }, 1]], expect.any(Number)] })
  await expect.poll(() => there.of('values').filter((result) => 'QueryDiff' in result)).toEqual([first])
  expect(stage.logged).toEqual([])
})

test('who begins when the time has come begins with the row, though nobody watched as it came', async () => {
  const { stage, client } = await watching()
  await client.ask('Uninterest', { name: 'values' })
  const at = inMs(200)
  await client.ask('Transact', { changes: [change('last', 1)], at })
  await client.ask('Transact', { changes: [change('last', 2)], at: inMs(3_600_000) })
  await expect.poll(() => Date.now()).toBeGreaterThan(at)
  const sql = await embeddedSql()
  const due = () =>
    sql(`select 1 from callplane.events where namespace = $1 and command -> 'command' ? 'Due'`, [stage.namespace])
  expect(await due()).toEqual([])
  const again = await (await newStage()).connect({ key: stage.namespace })
  await again.ask('Interest', { name: 'values' })
  expect(again.rows('values')).toEqual([{ id: 'a', n: 1 }])
  expect(again.of('values').map((frame) => Object.keys(frame)[0])).toEqual(['Snapshot'])
  // The hour that is left is known now, and costs no further statement.
  expect(await due()).toHaveLength(1)
})
