// Commands of long ago are replaced by fewer: who begins has the same, and who was there notices nothing.
import fc from 'fast-check'
import { expect, onTestFinished, test, vi } from 'vitest'
import type { Sql } from '../../src/db/sql.ts'
import { appendCommands, type Command } from '../../src/live/commands.ts'
import { condense, Condenser } from '../../src/live/condense.ts'
import { Look } from '../../src/live/look.ts'
import { Registry } from '../../src/live/registry.ts'
import { registryAt } from '../../src/live/registry-at.ts'
import { commandsOf } from '../../src/live/registry-commands.ts'
import { embeddedSql } from '../support/plane.ts'
import { newStage } from './stage.ts'

const CREATE = {
  CreateAttribute: {
    name: 'owners',
    columns: [
      { name: 'id', type: 'int' },
      { name: 'owner', type: 'text' },
    ],
    semantics: 'last_write_wins',
    key: ['id'],
  },
} satisfies Command
const put = (id: number, owner: string): Command => ({
  Transact: { changes: [{ relation: 'owners', row: { id, owner }, diff: 1 }] },
})

/** A log of these commands, each of its own tick. */
async function logOf(commands: readonly Command[]) {
  const sql = await embeddedSql()
  const namespace = `condense_${crypto.randomUUID()}`
  const look = new Look(sql, namespace, { begun: () => {}, read: () => {} })
  const append = async (more: readonly Command[]) => {
    for (const command of more) {
      await appendCommands(sql, namespace, crypto.randomUUID(), [{ number: 1, command }])
      while ((await look.take()) > 0);
    }
  }
  await look.take()
  await append(commands)
  return { sql, namespace, append, tick: () => look.tick ?? 0 }
}

const madeBy = async (sql: Sql, namespace: string, tick: number) => {
  const { registry } = await registryAt(sql, namespace, { tick, builtIn: new Map() })
  return commandsOf(registry).filter((command) => !('Put' in command))
}
const countOf = async (sql: Sql, namespace: string): Promise<number> =>
  (await sql('select 1 from callplane.events where namespace = $1 and command is not null', [namespace])).length

const ALL = { keptMs: 0, least: 1 }

test('who begins has the same, of fewer commands, and of several that condense at once one does', async () => {
  const { sql, namespace, append, tick } = await logOf([
    CREATE,
    ...Array.from({ length: 30 }, (_, n) => put(n % 3, `${n}`)),
  ])
  const before = await madeBy(sql, namespace, tick())
  const done = await Promise.all([1, 2, 3].map(() => condense(sql, namespace, ALL)))
  expect(done.toSorted((a, b) => a - b)).toEqual([0, 0, 29])
  expect(await countOf(sql, namespace)).toBe(2)
  expect(await madeBy(sql, namespace, tick())).toEqual(before)
  await append(Array.from({ length: 9 }, (_, n) => put(n, 'later')))
  const later = await madeBy(sql, namespace, tick())
  expect(await condense(sql, namespace, ALL)).toBe(9)
  expect(await madeBy(sql, namespace, tick())).toEqual(later)
})

test('what is young, few, or no fewer afterwards stays as it is', async () => {
  const of = (n: number): Command => ({ Register: { name: `q${n}`, plan: { op: 'from', relation: 'jobs' } } })
  const needed = await logOf([0, 1, 2, 3, 4, 5].map(of))
  const more = await logOf([CREATE, put(1, 'ada'), put(1, 'bob'), put(1, 'eve'), put(1, 'ada')])
  await condense(needed.sql, needed.namespace, ALL)
  await condense(more.sql, more.namespace, { keptMs: 60_000, least: 1 })
  await condense(more.sql, more.namespace, { keptMs: 0, least: 6 })
  expect(await condense(more.sql, 'condense_nobody', ALL)).toBe(0)
  const condensed = await more.sql(
    'select 1 from callplane.heads where namespace = any($1::text[]) and condensed_tick > 0',
    [[needed.namespace, more.namespace]],
  )
  expect(condensed).toEqual([])
  expect(await condense(more.sql, more.namespace, { keptMs: 0, least: 5 })).toBe(3)
})

test('a transaction of many rows is written in parts', async () => {
  const { sql, namespace, tick } = await logOf([CREATE])
  const changes = Array.from({ length: 2_500 }, (_, id) => ({ relation: 'owners', row: { id, owner: 'ada' }, diff: 1 }))
  for (let part = 0; part < 10; part++) {
    await appendCommands(sql, namespace, crypto.randomUUID(), [
      { number: 1, command: { Transact: { changes: changes.slice(part * 250, (part + 1) * 250) } } },
    ])
  }
  const look = new Look(sql, namespace, { begun: () => {}, read: () => {} })
  await sql('update callplane.heads set expires_at = now() where namespace = $1', [namespace])
  while ((await look.take()) > 0);
  const end = look.tick ?? tick()
  const before = await madeBy(sql, namespace, end)
  expect(await condense(sql, namespace, ALL)).toBe(7)
  expect(await countOf(sql, namespace)).toBe(4)
  expect(await madeBy(sql, namespace, end)).toEqual(before)
})

const ROWS = [{ relation: 'owners', row: { id: 9, owner: 'later' }, diff: 1 }]
const anyCommand: fc.Arbitrary<Command> = fc.oneof(
  fc.tuple(fc.integer({ min: 0, max: 3 }), fc.constantFrom('ada', 'bob')).map(([id, owner]) => put(id, owner)),
  fc.record({
    Transact: fc.record({
      changes: fc.constant(ROWS),
      at: fc.constantFrom(1, Date.now() + 3_600_000),
    }),
  }),
  fc.constant<Command>({ CloseInput: { name: 'owners' } }),
  fc.constantFrom('p', 'q').map((name): Command => ({ Register: { name, plan: { op: 'from', relation: 'owners' } } })),
  fc.constantFrom('p', 'q').map((name): Command => ({ Unregister: { name } })),
  fc.integer({ min: 1, max: 2_000_000_000_000 }).map((Due) => ({ Due })),
  fc.constant<Command>({ PeerGone: { peer: crypto.randomUUID() } }),
)

test('whatever clients have asked for, it makes the same, and goes on as it was', async () => {
  const anyCommands = fc.array(anyCommand, { minLength: 4, maxLength: 12 })
  await fc.assert(
    fc.asyncProperty(anyCommands, anyCommands, async (before, after) => {
      const { sql, namespace, append, tick } = await logOf([CREATE, ...before])
      const whole = await madeBy(sql, namespace, tick())
      await condense(sql, namespace, ALL)
      expect(await madeBy(sql, namespace, tick())).toEqual(whole)
      await append(after)
      const alone = new Registry()
      for (const command of [CREATE, ...before, ...after]) alone.apply(command, Date.now())
      expect(await madeBy(sql, namespace, tick())).toEqual(commandsOf(alone))
    }),
    { numRuns: 20 },
  )
})

test('its clients go on, one that was away since before begins anew, and one that was away since after does not', async () => {
  const [here, there] = [await newStage(), await newStage()]
  const { namespace, sql } = here
  const client = await here.connect()
  await client.ask('CreateAttribute', CREATE.CreateAttribute)
  await client.ask('Register', { name: 'all', plan: { op: 'from', relation: 'owners' } })
  await client.ask('Interest', { name: 'all' })
  const write = (owner: string) => client.ask('Transact', { changes: [{ relation: 'owners', row: { id: 1, owner } }] })
  await write('first')
  const told = () => structuredClone(client.results.get('all') ?? { rows: new Map<string, number>(), tick: 0 })
  const early = told()
  for (let n = 0; n < 20; n++) await write(`${n}`)
  expect(await condense(sql, namespace, ALL)).toBeGreaterThan(10)
  const late = told()
  await write('last')
  await expect.poll(() => client.rows('all')).toEqual([{ id: 1, owner: 'last' }])
  const comeBack = async (known: ReturnType<typeof told>) => {
    const back = await there.connect({ key: namespace })
    back.results.set('all', known)
    await back.ask('Interest', { name: 'all', from: known.tick })
    await expect.poll(() => back.of('all').length).toBeGreaterThan(0)
    return back.received.flatMap((result) => Object.keys(result)).filter((tag) => tag !== 'Ok')
  }
  expect(await comeBack(late)).toEqual(['QueryDiff'])
  expect(await comeBack(early)).toEqual(['Reset', 'Snapshot'])
  expect(client.received.some((result) => 'Reset' in result)).toBe(false)
})

test('who dies between replacing commands and deleting them leaves nothing that counts, nor for ever', async () => {
  const { sql, namespace, tick } = await logOf([CREATE, ...Array.from({ length: 9 }, () => put(1, 'ada'))])
  const before = await madeBy(sql, namespace, tick())
  const dying: Sql = (text, params) => (text.includes('delete') ? Promise.reject(new Error('dead')) : sql(text, params))
  let deletes = 0
  const once: Sql = (text, params) =>
    text.includes('delete') && deletes++ === 0 ? sql(text, params) : dying(text, params)
  await expect(condense(once, namespace, ALL)).rejects.toThrow('dead')
  expect(await countOf(sql, namespace)).toBe(12)
  expect(await madeBy(sql, namespace, tick())).toEqual(before)
  await condense(sql, namespace, ALL)
  expect(await countOf(sql, namespace)).toBe(2)
  expect(await madeBy(sql, namespace, tick())).toEqual(before)
})

test('a room looks for old commands after many, and not often', async () => {
  vi.useFakeTimers({ toFake: ['performance'] })
  onTestFinished(() => void vi.useRealTimers())
  let looks = 0
  const sql: Sql = async (text) => {
    if (text.includes('count(*)')) looks++
    return []
  }
  const condenser = new Condenser(sql, 'n')
  const looksAfter = async (applied: number): Promise<number> => {
    await condenser.turn(applied)
    return looks
  }
  expect(await looksAfter(4_999)).toBe(0)
  expect(await looksAfter(5_000)).toBe(1)
  expect(await looksAfter(20_000)).toBe(1)
  vi.advanceTimersByTime(600_000)
  expect(await looksAfter(9_999)).toBe(1)
  expect(await looksAfter(20_000)).toBe(2)
  // The log has begun anew, and there are fewer.
  vi.advanceTimersByTime(600_000)
  expect(await looksAfter(4_999)).toBe(2)
  expect(await looksAfter(6_000)).toBe(3)
})
