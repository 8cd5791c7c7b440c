// Queries in pieces, held by three peers in three processes over one Postgres: the same rows at the same ticks as whole ones, in
// a third of the memory, also while holders die.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { claimJobs } from '../../src/jobs/claim.ts'
import { completeJobs } from '../../src/jobs/complete.ts'
import { enqueueJobs } from '../../src/jobs/enqueue.ts'
import { planSql, readRows } from '../../src/live/plan-sql.ts'
import { avg, count, max, median, p95, variance } from '../../src/protocol/aggregation.ts'
import { from } from '../../src/protocol/from.ts'
import type { LiveResult, PeerStatus } from '../../src/protocol/live.ts'
import type { Plan } from '../../src/protocol/plan.ts'
import { parsePlan } from '../../src/protocol/parse-plan.ts'
import { RELATIONS } from '../../src/protocol/relations.ts'
import { migratedDatabase } from '../support/fresh-database.ts'
import { aCall } from '../support/wire.ts'
import type { WireClient } from './client.ts'
import { anyRow, OWN, randomPlan } from './kernel/random-plans.ts'
import { keyOf, planeOfTest, type PlaneProcess } from './processes.ts'

const isLong = process.env['CALLPLANE_LONG'] === '1'
const RANDOM_RUNS = isLong ? 60 : 2
const KILLS = isLong ? 12 : 1
const SLOW_MS = 30_000

const jobs = from('jobs')
const per = (input: Plan, by: string[]): Plan => ({ op: 'groupBy', input, by, aggregates: [['n', { op: 'count' }]] })
const onRunner = { op: 'join' as const, left: jobs.plan, right: from('runners').plan }
const redriven: [string, string][] = [['id', 'redriven_from']]

const PLANS: Record<string, Plan> = {
  states: jobs.groupBy('function', 'state').count().plan,
  spent: jobs.groupBy('function').aggregate({ calls: count(), mean: avg('attempt'), last: max('created_at') }).plan,
  all: jobs
    .groupBy()
    .aggregate({ calls: count(), middle: median('id'), high: p95('wait_ms'), spread: variance('priority') }).plan,
  open: jobs.where({ state: 'pending' }).select('id', 'function').plan,
  first: jobs.select('id', 'state').orderBy('id').limit(5).plan,
  functions: { op: 'distinct', input: jobs.select('function', 'attempt').plan },
  hosts: per({ ...onRunner, kind: 'left', on: [['runner', 'id']], prefix: 'on_' }, ['on_host', 'state']),
  final: per({ op: 'join', kind: 'anti', left: jobs.plan, right: from('redrives').plan, on: redriven }, ['state']),
}
const LATELY = jobs.window('created_at', 2_000).groupBy('function').count().plan

const { url, database } = await migratedDatabase({ max: 4 })
/** A peer is known to the others once it has clients and has renewed its lease. */
async function join(plane: PlaneProcess, key: string, namespace: string, peers: number): Promise<WireClient> {
  const client = await plane.connect(key)
  const rows = () => database.sql('select 1 from callplane.peers where namespace = $1', [namespace])
  await expect.poll(async () => (await rows()).length, { timeout: SLOW_MS }).toBeGreaterThanOrEqual(peers)
  return client
}

/** A client of each of three peers, which know each other. */
async function setup(namespace: string) {
  const key = await keyOf(database.sql, namespace)
  const planes = await Promise.all([planeOfTest(url), planeOfTest(url), planeOfTest(url)])
  const clients: WireClient[] = []
  for (const plane of planes) clients.push(await join(plane, key, namespace, clients.length + 1))
  const [owner] = clients
  if (owner === undefined) throw new Error('there are three')
  return { key, planes, clients, owner }
}

async function watch(client: WireClient, name: string, plan: Plan, shards?: number): Promise<void> {
  expect(await client.ask('Register', { name, plan, shards })).toHaveProperty('Ok')
  const begun = client.next((result) => 'Snapshot' in result && result.Snapshot[0] === name)
  expect(await client.ask('Interest', { name })).toHaveProperty('Ok')
  await begun
}

const whole = (name: string) => `${name}_whole`
const shared = (name: string) => `${name}_shared`

async function statusOf(client: WireClient): Promise<PeerStatus> {
  const answer = await client.ask('Status')
  if ('Status' in answer) return answer.Status[1]
  throw new Error(JSON.stringify(answer))
}

const piecesOf = ({ queries }: PeerStatus) => queries.filter(({ name }) => name.includes('#'))

async function write(namespace: string, n: number): Promise<void> {
  const runner = { namespace, id: crypto.randomUUID() }
  const calls = await Promise.all([n, n + 1].map((of) => aCall({ function: `f${of % 7}`, priority: of % 5 })))
  await enqueueJobs(database.sql, namespace, calls, { retentionMs: 86_400_000 })
  const functions = Array.from({ length: 7 }, (_, of) => `f${of}`)
  const services = [{ name: 'greeter', functions, capacity: 2 }]
  const { jobs } = await claimJobs(database.sql, runner, { claimId: crypto.randomUUID(), services, maxBytes: 1e6 })
  const reports = jobs.slice(0, 1).map(({ id, token }) => ({ id, token, result: new Uint8Array([1]) }))
  await completeJobs(database.sql, namespace, reports)
}

/** Until all that was written before has been told of each. */
async function settled(client: WireClient, namespace: string, names: readonly string[]): Promise<void> {
  const unstamped = () =>
    database.sql('select 1 from callplane.events where namespace = $1 and tick is null', [namespace])
  await expect.poll(unstamped, { timeout: SLOW_MS }).toHaveLength(0)
  const [head] = await database.sql<{ tick: number }>('select tick from callplane.heads where namespace = $1', [
    namespace,
  ])
  const isTold = () => names.every((name) => toldOf(client, name) >= (head?.tick ?? 0))
  await expect.poll(isTold, { timeout: SLOW_MS }).toBe(true)
}

const toldOf = (client: WireClient, name: string): number =>
  client.of(name).reduce((told, result) => Math.max(told, tickOf(result)), 0)

function tickOf(result: LiveResult): number {
  if ('Snapshot' in result) return result.Snapshot[2]
  if ('QueryDiff' in result) return result.QueryDiff[2]
  return 'Progress' in result ? result.Progress[1] : 0
}

/** The rows of a query at each tick at which they changed. */
function statesOf(client: WireClient, name: string): { tick: number; rows: string[] }[] {
  const counts = new Map<string, number>()
  const add = (row: unknown, diff: number): void => {
    const key = JSON.stringify(row)
    counts.set(key, (counts.get(key) ?? 0) + diff)
  }
  return client.of(name).flatMap((result) => {
    if ('Snapshot' in result) {
      counts.clear()
      for (const row of result.Snapshot[1]) add(row, 1)
    } else if ('QueryDiff' in result) for (const [row, diff] of result.QueryDiff[1]) add(row, diff)
    else return []
    const rows = [...counts].filter(([, n]) => n !== 0).map(([row, n]) => `${row} ×${n}`)
    return [{ tick: tickOf(result), rows: rows.toSorted() }]
  })
}

/** At each tick since both have begun, and up to where both have been told, they are the same: time goes on for windows. */
function expectAlike(client: WireClient, name: string, { isExact }: { isExact: boolean }): void {
  const [one, other] = [statesOf(client, whole(name)), statesOf(client, shared(name))]
  const begun = Math.max(one[0]?.tick ?? 0, other[0]?.tick ?? 0)
  const until = Math.min(toldOf(client, whole(name)), toldOf(client, shared(name)))
  const at = (states: typeof one, tick: number) => states.findLast((state) => state.tick <= tick)?.rows
  for (const { tick, rows } of other)
    if (tick >= begun && tick <= until) expect([name, tick, rows]).toEqual([name, tick, at(one, tick)])
  expect([name, at(other, until)]).toEqual([name, at(one, until)])
  const ticksOf = (states: typeof one) => states.map(({ tick }) => tick).filter((tick) => tick > begun && tick <= until)
  if (isExact) expect([name, ticksOf(other)]).toEqual([name, ticksOf(one)])
}

async function expectSql(client: WireClient, namespace: string, name: string, plan: Plan): Promise<void> {
  const parsed = parsePlan(plan, RELATIONS)
  const { text, params } = planSql(parsed.plan, { relations: RELATIONS, namespace, nowMs: 0 })
  const names = [...parsed.columns.keys()]
  const rows = readRows(await database.sql(text, params), parsed.columns)
  const told = rows.map((row) => JSON.stringify(Object.fromEntries(names.map((column, at) => [column, row[at]]))))
  expect([name, client.rows(shared(name)).map((row) => JSON.stringify(row))]).toEqual([name, told.toSorted()])
}

test('whatever is written, a query in pieces has the rows of the whole one, at the same ticks', async () => {
  const namespace = 'written'
  const { owner, clients } = await setup(namespace)
  for (let n = 0; n < 20; n++) await write(namespace, n)
  const all = { ...PLANS, lately: LATELY }
  for (const [name, plan] of Object.entries(all)) {
    await watch(owner, whole(name), plan)
    await watch(owner, shared(name), plan, 3)
  }
  for (let n = 0; n < 30; n++) await write(namespace, n)
  const names = Object.keys(all)
  await settled(owner, namespace, [...names.map(whole), ...names.map(shared)])
  for (const name of names) expectAlike(owner, name, { isExact: name !== 'lately' })
  for (const [name, plan] of Object.entries(PLANS)) await expectSql(owner, namespace, name, plan)
  for (const client of clients) expect(piecesOf(await statusOf(client))).toHaveLength(names.length)
}, 120_000)

test('so it is for any plan over relations of one’s own', async () => {
  const namespace = 'any'
  const { owner } = await setup(namespace)
  for (const [name, of] of Object.entries(OWN)) {
    const columns = Object.entries(of).map(([column, type]) => ({ name: column, type }))
    await owner.ask('CreateAttribute', { name, columns })
  }
  let queries = 0
  const run = async (gen: fc.GeneratorValue): Promise<void> => {
    const draw = <T>(arbitrary: fc.Arbitrary<T>): T => gen(() => arbitrary)
    const transact = async (): Promise<void> => {
      const one = fc
        .constantFrom('a' as const, 'c' as const)
        .chain((relation) => anyRow(relation).map((row) => ({ relation, row })))
      const changes = draw(fc.array(one, { minLength: 1, maxLength: 8 }))
      expect(await owner.ask('Transact', { changes })).toHaveProperty('Ok')
      const gone = draw(fc.subarray(changes)).map((change) => ({ ...change, diff: -1 }))
      if (gone.length > 0) expect(await owner.ask('Transact', { changes: gone })).toHaveProperty('Ok')
    }
    await transact()
    const names: string[] = []
    for (let n = 0; n < 5; n++) {
      const [name, plan] = [`q${queries++}`, randomPlan(draw, { hasRecursion: false })]
      const shards = draw(fc.integer({ min: 2, max: 5 }))
      const answer = await owner.ask('Register', { name: shared(name), plan, shards })
      if ('Error' in answer) {
        expect(answer.Error.slice(1)).toEqual([
          'invalid_request',
          expect.stringContaining('cannot be divided into shards'),
        ])
        continue
      }
      await watch(owner, whole(name), plan)
      await watch(owner, shared(name), plan, shards)
      names.push(name)
    }
    for (let n = 0; n < 4; n++) await transact()
    await settled(owner, namespace, [...names.map(whole), ...names.map(shared)])
    for (const name of names) {
      expectAlike(owner, name, { isExact: false })
      for (const of of [whole(name), shared(name)]) await owner.ask('Unregister', { name: of })
    }
  }
  await fc.assert(fc.asyncProperty(fc.gen(), run), { numRuns: RANDOM_RUNS, endOnFailure: true })
}, 600_000)

test('each of three peers holds at most 45 % of the rows that one would', async () => {
  const namespace = 'sizes'
  const { owner, clients } = await setup(namespace)
  const columns = [
    { name: 'id', type: 'int' },
    { name: 'k', type: 'int' },
    { name: 'v', type: 'int' },
    { name: 't', type: 'time' },
  ]
  await owner.ask('CreateAttribute', { name: 'facts', columns })
  await owner.ask('CreateAttribute', { name: 'names', columns: columns.slice(0, 2) })
  for (let begin = 0; begin < 6_000; begin += 1_000) {
    const ids = Array.from({ length: 1_000 }, (_, n) => begin + n)
    const rows = ids.map((id) => ({ relation: 'facts', row: { id, k: id % 300, v: id, t: Date.now() - id } }))
    expect(await owner.ask('Transact', { changes: rows })).toHaveProperty('Ok')
  }
  const named = Array.from({ length: 300 }, (_, id) => ({ relation: 'names', row: { id, k: id % 60 } }))
  expect(await owner.ask('Transact', { changes: named })).toHaveProperty('Ok')
  const facts: Plan = { op: 'from', relation: 'facts' }
  const byId: Plan = {
    op: 'project',
    input: facts,
    columns: [
      ['k', 'k'],
      ['v', 'v'],
    ],
  }
  const joined: Plan = {
    op: 'join',
    kind: 'inner',
    left: facts,
    right: { op: 'from', relation: 'names' },
    on: [['k', 'id']],
    prefix: 'of_',
  }
  const middle: Plan = {
    op: 'groupBy',
    input: facts,
    by: ['k'],
    aggregates: [['middle', { op: 'median', column: 'v' }]],
  }
  const plans: Record<string, Plan> = {
    groups: middle,
    join: { op: 'groupBy', input: joined, by: ['of_k'], aggregates: [['last', { op: 'max', column: 'v' }]] },
    window: per({ op: 'window', input: facts, column: 't', lengthMs: 3_600_000 }, ['k']),
    distinct: per({ op: 'distinct', input: byId }, ['k']),
  }
  for (const [name, plan] of Object.entries(plans)) {
    await watch(owner, whole(name), plan)
    await watch(owner, shared(name), plan, 3)
    await expect.poll(() => owner.rows(shared(name))).toEqual(owner.rows(whole(name)))
  }
  const told = await Promise.all(clients.map(statusOf))
  for (const name of Object.keys(plans)) {
    const rowsOf = ({ queries }: PeerStatus, of: (name: string) => boolean) =>
      queries.filter((query) => of(query.name)).reduce((sum, { rows }) => sum + rows, 0)
    const all = Math.max(...told.map((status) => rowsOf(status, (of) => of === whole(name))))
    const parts = told.map((status) => rowsOf(status, (of) => of.startsWith(shared(name))) / all)
    expect(Math.max(...parts), name).toBeLessThanOrEqual(0.45)
    expect(Math.min(...parts), name).toBeGreaterThan(0.2)
  }
}, 120_000)

test('processes without a client hold pieces too: those that are there, and those that begin later', async () => {
  const namespace = 'invited'
  const key = await keyOf(database.sql, namespace)
  const options = { peerLeaseMs: 3_000 }
  const [first] = await Promise.all([planeOfTest(url, options), planeOfTest(url, options)])
  const owner = await first.connect(key)
  const name = shared('states')
  await watch(owner, name, PLANS['states'] ?? jobs.plan, 3)
  /** How many of them run something, as they say themselves while something happens. */
  const holders = async () => {
    await write(namespace, 1)
    const rows = await database.sql('select 1 from callplane.peers where namespace = $1 and queries > 0', [namespace])
    return rows.length
  }
  await expect.poll(holders, { timeout: SLOW_MS }).toBe(2)
  await planeOfTest(url, options)
  await expect.poll(holders, { timeout: SLOW_MS }).toBe(3)
  expect(piecesOf(await statusOf(owner)).filter(({ clients }) => clients > 0)).toHaveLength(1)
  await settled(owner, namespace, [name])
  await expectSql(owner, namespace, 'states', PLANS['states'] ?? jobs.plan)
  expect(owner.received.filter((result) => 'Reset' in result || 'Error' in result)).toEqual([])
}, 120_000)

test('while holders are killed and come back, nobody sees a wrong row, no diff twice, and none is missing', async () => {
  const namespace = 'killed'
  const { owner, planes, clients, key } = await setup(namespace)
  const names = Object.keys(PLANS)
  for (const [name, plan] of Object.entries(PLANS)) {
    await watch(owner, whole(name), plan)
    await watch(owner, shared(name), plan, 3)
  }
  const over = new AbortController()
  const writing = (async () => {
    for (let n = 0; !over.signal.aborted; n++) await write(namespace, n)
  })()
  const diffs = () => owner.of(shared('states')).filter((result) => 'QueryDiff' in result).length
  const goesOn = async (): Promise<void> => {
    const before = diffs()
    await expect.poll(diffs, { timeout: SLOW_MS }).toBeGreaterThan(before + 20)
  }
  for (let kill = 0; kill < KILLS; kill++) {
    await goesOn()
    const at = 1 + (kill % 2)
    await planes[at]?.kill()
    await goesOn()
    const next = await planeOfTest(url)
    planes[at] = next
    clients[at] = await join(next, key, namespace, 1)
    // Every other is found, and has its share, before the next is killed.
    if (kill % 2 === 1) continue
    const pieces = async () => piecesOf(await statusOf(clients[at] ?? owner)).length
    await expect.poll(pieces, { timeout: SLOW_MS, interval: 200 }).toBe(names.length)
  }
  await goesOn()
  over.abort()
  await writing
  await settled(owner, namespace, [...names.map(whole), ...names.map(shared)])
  for (const name of names) expectAlike(owner, name, { isExact: false })
  for (const [name, plan] of Object.entries(PLANS)) await expectSql(owner, namespace, name, plan)
  const resets = owner.received.filter((result) => 'Reset' in result || 'Error' in result)
  expect(resets).toEqual([])
}, 600_000)
