// Peers that wake with what they knew: it is on the disk of their object, and what came since is in the log.
import { env } from 'cloudflare:workers'
import { evictDurableObject, runInDurableObject } from 'cloudflare:test'
import type { DurableObjectState } from '@cloudflare/workers-types'
import fc from 'fast-check'
import { expect, onTestFinished, test, vi } from 'vitest'
import { claimJobs } from '../../src/jobs/claim.ts'
import { completeJobs } from '../../src/jobs/complete.ts'
import { planSql, readRows } from '../../src/live/plan-sql.ts'
import { from } from '../../src/protocol/from.ts'
import type { LiveResult } from '../../src/protocol/live.ts'
import { parsePlan } from '../../src/protocol/parse-plan.ts'
import type { Plan } from '../../src/protocol/plan.ts'
import { RELATIONS } from '../../src/protocol/relations.ts'
import type { WireClient } from './client.ts'
import {
  attached,
  connect,
  evict,
  HERE,
  minutePasses,
  PEERS,
  statements,
  statementsSince,
  THERE,
  watching,
} from './object-clients.workerd.ts'
import { enqueue } from './peer-suite.ts'
import { newStage, type ObjectStage } from './stage.workerd.ts'

const [PEER = {}] = PEERS

/** What tells a statement that reads a state whole: the rows of a query, the commands of the log, the tables beside the jobs. */
const WHOLE = {
  rows: '-1::int8 as part',
  commands: `and (e.command ? 'number'`,
  tables: `select 'runners' as relation`,
}

async function wholeReadsSince(count: number): Promise<string[]> {
  const texts = await statementsSince(count)
  return texts.flatMap((text) => Object.keys(WHOLE).filter((of) => text.includes(WHOLE[of as keyof typeof WHOLE])))
}

/** Something goes wrong with what lies on the disk of the peer. */
const onDisk = (run: (sql: DurableObjectState['storage']['sql']) => void) =>
  runInDurableObject(PEER, (_, { storage }) => run(storage.sql))

const partsOf = ({ namespace }: ObjectStage) =>
  runInDurableObject(PEER, (_, { storage }) =>
    storage.sql.exec<{ bytes: ArrayBuffer }>('select bytes from checkpoints where namespace = ?', namespace).toArray(),
  )

/** Word that nothing has changed comes when it comes. */
const isRows = (result: LiveResult) => !('Progress' in result)
const tickOf = (result: LiveResult) => {
  if ('Snapshot' in result) return result.Snapshot[2]
  if ('QueryDiff' in result) return result.QueryDiff[2]
  return 'Progress' in result ? result.Progress[1] : 0
}
const tagsOf = (client: WireClient, name: string) =>
  client
    .of(name)
    .filter(isRows)
    .map((result) => Object.keys(result)[0])

const pending = (count: number) => [{ service: 'greeter', state: 'pending', count }]

test('evicted between any two frames, a peer goes on from its checkpoint: nothing is read whole', async () => {
  const stage = await newStage()
  const clients = [await watching(stage, HERE), await watching(stage, THERE)]
  for (let count = 1; count <= 3; count++) {
    await evict(stage)
    const before = await statements()
    await enqueue(stage, 1)
    for (const client of clients) await expect.poll(() => client.rows('states')).toEqual(pending(count))
    expect(await wholeReadsSince(before)).toEqual([])
  }
  // Also where a client wakes it.
  await evict(stage)
  const before = await statements()
  expect(await clients[0]?.ask('Register', { name: 'all', plan: from('jobs').select('id').plan })).toHaveProperty('Ok')
  expect(await wholeReadsSince(before)).toEqual([])
  expect(await clients[0]?.ask('Interest', { name: 'all' })).toHaveProperty('Ok')
  expect(await wholeReadsSince(before)).toEqual(['rows'])
})

test('a wake in which nothing changed writes nothing, and the last who leaves takes the checkpoint along', async () => {
  const stage = await newStage()
  const client = await watching(stage)
  await evict(stage)
  const [before] = await onDiskAt(stage)
  expect(before).toBeGreaterThan(0)
  expect(await client.ask('Status')).toHaveProperty('Status')
  await evict(stage)
  expect(await onDiskAt(stage)).toEqual([before])
  client.close()
  await expect.poll(() => onDiskAt(stage), { timeout: 10_000 }).toEqual([])
})

const onDiskAt = ({ namespace }: ObjectStage) =>
  runInDurableObject(PEER, (_, { storage }) =>
    storage.sql
      .exec<{ at_ms: number }>('select at_ms from checkpoints where namespace = ?', namespace)
      .toArray()
      .map((row) => row.at_ms),
  )

/** FNV-1a of `{}`. */
const FNV_OF_BRACES = 0x54_65_b8_25

const DAMAGES = {
  'another format': 'format = format + 1',
  'a part is missing': 'parts = 2',
  'a byte is another': `bytes = cast(replace(bytes, 'pending', 'pendinG') as blob)`,
  'no checkpoint at all': `bytes = x'7b7d', checksum = ${FNV_OF_BRACES}`,
}

test('a checkpoint that is damaged, or of another format, is passed over', { timeout: 60_000 }, async () => {
  const log = vi.spyOn(console, 'log').mockImplementation(() => {})
  onTestFinished(() => log.mockRestore())
  const all = await Promise.all(
    Object.entries(DAMAGES).map(async ([name, damage]) => {
      const stage = await newStage()
      const client = await watching(stage)
      await enqueue(stage, 1)
      await expect.poll(() => client.rows('states')).toEqual(pending(1))
      return { name, damage, stage, client }
    }),
  )
  for (const { stage } of all) await attached(stage)
  await evictDurableObject(PEER)
  for (const { damage, stage } of all) {
    await onDisk((sql) => sql.exec(`update checkpoints set ${damage} where namespace = ?`, stage.namespace))
  }
  await evictDurableObject(PEER)
  for (const { name, stage, client } of all) {
    const before = await statements()
    await enqueue(stage, 1)
    await expect.poll(() => client.rows('states')).toEqual(pending(2))
    expect(await wholeReadsSince(before), name).toContain('rows')
    expect(tagsOf(client, 'states'), name).toEqual(['Snapshot', 'QueryDiff', 'QueryDiff'])
  }
})

test('a database that was restored is not gone on from: the log is past what anybody has seen', async () => {
  const stage = await newStage()
  const client = await watching(stage)
  await enqueue(stage, 2)
  await expect.poll(() => client.rows('states')).toEqual(pending(2))
  await evict(stage)
  const { namespace, sql } = stage
  await sql(`delete from callplane.events where namespace = $1 and to_state = 'pending'`, [namespace])
  await sql('delete from callplane.jobs where namespace = $1', [namespace])
  // As docs/deploy.md says.
  await sql(`update callplane.heads set tick = tick + 1000000000, base_tick = tick + 1000000000 where namespace = $1`, [
    namespace,
  ])
  await enqueue(stage, 1)
  await expect.poll(() => client.rows('states')).toEqual(pending(1))
  expect(tagsOf(client, 'states').slice(-2)).toEqual(['Reset', 'Snapshot'])
})

const TEXT = [
  { name: 'id', type: 'int' },
  { name: 'text', type: 'text' },
] as const

/** 200 KB. */
const aText = (id: number) => ({ relation: 'texts', row: { id, text: 'é'.repeat(100_000) } })

/** Watching a relation of the clients' own, with so many rows. */
async function withTexts(stage: ObjectStage, count: number): Promise<WireClient> {
  const client = await watching(stage)
  await client.ask('CreateAttribute', { name: 'texts', columns: TEXT })
  for (let id = 1; id <= count; id++) {
    await client.ask('Transact', { changes: [aText(id)] })
  }
  await client.ask('Register', {
    name: 'ids',
    plan: { op: 'project', input: { op: 'from', relation: 'texts' }, columns: [['id', 'id']] },
  })
  await client.ask('Interest', { name: 'ids' })
  return client
}

test(
  'one that is larger than a row of the disk is in several, and one that is too large is not kept',
  { timeout: 60_000 },
  async () => {
    const stage = await newStage()
    const client = await withTexts(stage, 12)
    await evict(stage)
    expect(await partsOf(stage)).toHaveLength(2)
    const before = await statements()
    for (let id = 13; id <= 21; id++) await client.ask('Transact', { changes: [aText(id)] })
    await expect.poll(() => client.rows('ids')).toHaveLength(21)
    expect(await wholeReadsSince(before)).toEqual([])
    await evict(stage)
    expect(await partsOf(stage)).toEqual([])
    await client.ask('Transact', { changes: [aText(22)] })
    await expect.poll(() => client.rows('ids')).toHaveLength(22)
    expect(await wholeReadsSince(before)).toContain('commands')
  },
)

/** What happens while the objects come and go. */
const anyStep = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('enqueue' as const), count: fc.integer({ min: 1, max: 3 }) }) },
  { weight: 2, arbitrary: fc.constant({ do: 'finish' as const }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('own' as const), id: fc.nat(2), text: fc.constantFrom('a', 'b', null) }),
  },
  { weight: 1, arbitrary: fc.constant({ do: 'evict the sequencer' as const }) },
  { weight: 1, arbitrary: fc.constant({ do: 'leave' as const }) },
)

const OWN: Plan = { op: 'from', relation: 'own' }
const PLANS: Record<string, Plan> = {
  states: from('jobs').groupBy('service', 'state').count().plan,
  open: from('jobs').where({ state: 'pending' }).select('id').plan,
  first: from('jobs').select('id', 'state').orderBy('id', 'desc').limit(3).plan,
  own: OWN,
}
const NAMES = Object.keys(PLANS)

async function finish({ namespace, sql, poke }: ObjectStage): Promise<void> {
  const runner = { namespace, id: crypto.randomUUID() }
  const services = [{ name: 'greeter', functions: ['hello'], capacity: 1 }]
  const { jobs } = await claimJobs(sql, runner, { claimId: crypto.randomUUID(), services, maxBytes: 1e6 })
  poke()
  const reports = jobs.map(({ id, token }) => ({ id, token, result: new Uint8Array([1]) }))
  await completeJobs(sql, namespace, reports)
  poke()
}

/** As it is in the tables. */
async function inTables({ namespace, sql }: ObjectStage, name: string): Promise<string[]> {
  const { plan, columns } = parsePlan(PLANS[name], RELATIONS)
  const { text, params } = planSql(plan, { relations: RELATIONS, namespace, nowMs: 0 })
  const names = [...columns.keys()]
  const rows = readRows(await sql(text, params), columns)
  return rows.map((row) => JSON.stringify(Object.fromEntries(names.map((column, at) => [column, row[at]])))).toSorted()
}

test(
  'wherever it is evicted, a client is told what another is told, each change once',
  { timeout: 1_200_000 },
  async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(anyStep, { minLength: 6, maxLength: 14 }),
        fc.array(fc.nat(12), { minLength: 2, maxLength: 4 }),
        goOn,
      ),
      { numRuns: env.IS_LONG ? 40 : 1, endOnFailure: true },
    )
  },
)

async function goOn(
  steps: readonly (typeof anyStep extends fc.Arbitrary<infer T> ? T : never)[],
  evictions: readonly number[],
) {
  const stage = await newStage()
  await minutePasses(stage)
  const [there, here] = [await connect(stage, THERE), await connect(stage, HERE)]
  await there.ask('CreateAttribute', { name: 'own', columns: TEXT, semantics: 'last_write_wins', key: ['id'] })
  for (const client of [there, here]) {
    await client.askAll(Object.entries(PLANS).map(([name, plan]) => ['Register', { name, plan }] as const))
    await client.askAll(NAMES.map((name) => ['Interest', { name }] as const))
  }
  await attached(stage)
  const before = await statements()
  for (const [at, step] of steps.entries()) {
    // While others write.
    const evicted = evictions.includes(at) ? evictDurableObject(PEER).catch(() => {}) : null
    if (step.do === 'enqueue') await enqueue(stage, step.count)
    else if (step.do === 'finish') await finish(stage)
    else if (step.do === 'own') {
      await there.ask('Transact', {
        changes: [{ relation: 'own', row: { id: step.id, text: step.text }, diff: step.text === null ? -1 : 1 }],
      })
    } else if (step.do === 'leave') {
      await here.ask('Uninterest', { name: 'first' })
      await here.ask('Interest', { name: 'first' })
    } else await evictDurableObject(env.SEQUENCER.getByName(stage.namespace)).catch(() => {})
    await evicted
  }
  await enqueue(stage, 1)
  for (const name of ['states', 'open', 'first']) {
    const rows = await inTables(stage, name)
    const told = (client: WireClient) =>
      client
        .rows(name)
        .map((row) => JSON.stringify(row))
        .toSorted()
    for (const client of [there, here]) await expect.poll(() => told(client), { timeout: 10_000 }).toEqual(rows)
  }
  expect(here.rows('own')).toEqual(there.rows('own'))
  for (const name of NAMES) {
    const from = here.of(name).findLastIndex((result) => 'Snapshot' in result)
    const [first, ...others] = here.of(name).slice(from).filter(isRows)
    const tick = first !== undefined && 'Snapshot' in first ? first.Snapshot[2] : NaN
    const heard = there.of(name).filter((result) => 'QueryDiff' in result && result.QueryDiff[2] > tick)
    expect(others, name).toEqual(heard)
  }
  expect(await wholeReadsSince(before)).toEqual([])
  for (const client of [there, here]) client.close()
}

test(
  'after a restart, a window and what was given for later go on where clients come back to',
  { timeout: 60_000 },
  async () => {
    const stage = await newStage()
    await minutePasses(stage)
    const client = await connect(stage)
    await client.ask('CreateAttribute', { name: 'own', columns: TEXT, semantics: 'last_write_wins', key: ['id'] })
    const plans = { own: OWN, lately: from('jobs').window('created_at', 6_000).select('id').plan }
    for (const [name, plan] of Object.entries(plans)) {
      await client.ask('Register', { name, plan })
      await client.ask('Interest', { name })
    }
    const change = (id: number, text: string) => ({ changes: [{ relation: 'own', row: { id, text } }] })
    await client.ask('Transact', change(1, 'now'))
    await client.ask('Transact', { ...change(1, 'later'), at: Date.now() + 5_000 })
    const toldOf = (name: string) => Math.max(...client.of(name).map(tickOf))
    await expect.poll(() => onDiskAt(stage), { timeout: 10_000 }).toHaveLength(1)
    await expect.poll(() => toldOf('own') - toldOf('lately'), { timeout: 5_000 }).toBe(0)
    // From here on time moves each second, and the log with it: nothing is kept for half a minute.
    const before = await statements()
    await enqueue(stage, 2)
    await expect.poll(() => client.rows('lately'), { timeout: 5_000 }).toHaveLength(2)

    // As a deploy does: nobody is asked, and every socket is cut.
    await runInDurableObject(PEER, (_, state) => state.abort('a new version was deployed')).catch(() => {})
    const back = await connect(stage)
    for (const name of Object.keys(plans)) {
      const known = client.results.get(name)
      if (known === undefined) throw new Error(`nothing was told of ${name}`)
      back.results.set(name, known)
      await back.ask('Interest', { name, from: toldOf(name) })
    }
    await expect.poll(() => back.rows('own').map(({ text }) => text), { timeout: 10_000 }).toEqual(['later'])
    await expect.poll(() => back.rows('lately'), { timeout: 10_000 }).toEqual([])
    for (const name of Object.keys(plans)) expect(tagsOf(back, name), name).not.toContain('Snapshot')
    expect(await wholeReadsSince(before)).toEqual([])
  },
)
