// Three planes in three processes over one Postgres: what their peers make of one log is the same, and whoever asks one of them
// has all of them.
import fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import { claimJobs } from '../../src/jobs/claim.ts'
import { completeJobs } from '../../src/jobs/complete.ts'
import { enqueueJobs } from '../../src/jobs/enqueue.ts'
import { count, max, sum } from '../../src/protocol/aggregation.ts'
import { from } from '../../src/protocol/from.ts'
import type { LiveResult } from '../../src/protocol/live.ts'
import { callplane, freePort } from '../support/cli.ts'
import { migratedDatabase } from '../support/fresh-database.ts'
import { aCall } from '../support/wire.ts'
import type { WireClient } from './client.ts'
import { keyOf, startPlane } from './processes.ts'

const isLong = process.env['CALLPLANE_LONG'] === '1'
const RUNS = isLong ? 200 : 4

const { url, database } = await migratedDatabase({ max: 4 })
const planes = await Promise.all(Array.from({ length: 3 }, () => startPlane(url)))
afterAll(() => Promise.all(planes.map((plane) => plane.kill())))

let namespaces = 0
/** A namespace, and a client of it at each of the peers. */
async function setup(): Promise<{ namespace: string; key: string; clients: [WireClient, WireClient, WireClient] }> {
  const namespace = `peers_${namespaces++}`
  const key = await keyOf(database.sql, namespace)
  const clients = await Promise.all(planes.map((plane) => plane.connect(key)))
  return { namespace, key, clients: clients as [WireClient, WireClient, WireClient] } // one of each plane
}

const byState = from('jobs').groupBy('function', 'state').count().plan
const NAMES = ['one', 'two', 'three'] as const
const RELATIONS = ['owners', 'limits'] as const
const PLANS = [
  byState,
  from('jobs')
    .groupBy('function')
    .aggregate({ calls: count(), spent: sum('attempt'), last: max('created_at') }).plan,
  from('jobs').select('id', 'state').orderBy('id').limit(3).plan,
  from('jobs').window('created_at', 300).groupBy('function').count().plan,
  ...RELATIONS.map((relation) => ({ op: 'from' as const, relation })),
  {
    op: 'join' as const,
    kind: 'left' as const,
    left: from('jobs').select('id', 'function').plan,
    right: { op: 'from' as const, relation: 'owners' },
    on: [['function', 'name']] as const,
  },
]

const FUNCTIONS = ['hello', 'bye'] as const
const anyName = fc.constantFrom(...NAMES)
const anyRelation = fc.constantFrom(...RELATIONS)
const COLUMNS = [
  { name: 'name', type: 'text' },
  { name: 'n', type: 'int' },
]
const semantics = fc.constantFrom({}, { semantics: 'distinct' }, { semantics: 'last_write_wins', key: ['name'] })
const anyRow = fc.record({ name: fc.constantFrom(...FUNCTIONS), n: fc.nat(3) })
const anyChange = fc.record({ relation: anyRelation, row: anyRow, diff: fc.constantFrom(1, 1, -1) })
const anyRequest = fc.oneof(
  fc.record({ tag: fc.constant('Register'), body: fc.record({ name: anyName, plan: fc.constantFrom(...PLANS) }) }),
  fc.record({ tag: fc.constant('Register'), body: fc.record({ name: anyName, plan: fc.constantFrom(...PLANS) }) }),
  fc.record({ tag: fc.constantFrom('Interest', 'Unregister', 'Uninterest'), body: fc.record({ name: anyName }) }),
  fc.record({
    tag: fc.constant('CreateAttribute'),
    body: fc.tuple(anyRelation, semantics).map(([name, of]) => ({ name, columns: COLUMNS, ...of })),
  }),
  fc.record({
    tag: fc.constant('Transact'),
    body: fc.record({ changes: fc.array(anyChange, { minLength: 1, maxLength: 3 }) }),
  }),
  fc.record({ tag: fc.constant('CloseInput'), body: fc.record({ name: anyRelation }) }),
  fc.record({ tag: fc.constant('enqueue'), body: fc.record({ function: fc.constantFrom(...FUNCTIONS) }) }),
  fc.record({ tag: fc.constant('finish'), body: fc.constant({}) }),
)
const anyMix = fc.array(fc.record({ at: fc.nat(2), request: anyRequest }), { minLength: 5, maxLength: 40 })

async function work(namespace: string, { tag, body }: { tag: string; body: object }): Promise<void> {
  if (tag === 'enqueue') {
    return enqueueJobs(database.sql, namespace, [await aCall(body)], { retentionMs: 86_400_000 }).then(() => {})
  }
  const runner = { namespace, id: crypto.randomUUID() }
  const services = [{ name: 'greeter', functions: [...FUNCTIONS], capacity: 2 }]
  const { jobs } = await claimJobs(database.sql, runner, { claimId: crypto.randomUUID(), services, maxBytes: 1e6 })
  const [done] = jobs.map(({ id, token }) => ({ id, token, result: new Uint8Array([1]) }))
  if (done !== undefined) await completeJobs(database.sql, namespace, [done])
}

/** What all of them have made of the log, once they have come to the same tick with nothing after it. */
async function statesOf(namespace: string): Promise<unknown[]> {
  let states: unknown[] = []
  const isSettled = async (): Promise<boolean> => {
    const told = await Promise.all(planes.map((plane) => plane.stateOf({ namespace, names: NAMES })))
    states = told
    return new Set(told.map((state) => state?.tick)).size === 1 && (await unstamped(namespace)) === 0
  }
  await expect.poll(isSettled, { timeout: 20_000, interval: 5 }).toBe(true)
  return states
}

async function unstamped(namespace: string): Promise<number> {
  const rows = await database.sql('select 1 from callplane.events where namespace = $1 and tick is null', [namespace])
  return rows.length
}

/** By name and tick, what any client was told to have changed. */
function diffsOf(clients: readonly WireClient[]): Map<string, Set<string>> {
  const diffs = new Map<string, Set<string>>()
  for (const client of clients) {
    for (const result of client.received) {
      if (!('QueryDiff' in result)) continue
      const [name, changes, tick] = result.QueryDiff
      const key = `${name} ${tick}`
      diffs.set(key, (diffs.get(key) ?? new Set()).add(JSON.stringify(changes)))
    }
  }
  return diffs
}

test('commands sent in any mix to any of them make the same of all of them, at the same tick', async () => {
  await fc.assert(
    fc.asyncProperty(anyMix, async (mix) => {
      const { namespace, clients } = await setup()
      const sent = mix.map(async ({ at, request }) => {
        if (request.tag === 'enqueue' || request.tag === 'finish') return work(namespace, request)
        await clients[at]?.ask(request.tag, request.body)
      })
      await Promise.all(sent)
      // What runs where is each client's own: now it is the same.
      await statesOf(namespace)
      for (const client of clients) await client.askAll(NAMES.map((name) => ['Interest', { name }] as const))
      await work(namespace, { tag: 'enqueue', body: { function: 'hello' } })
      const [first, ...others] = await statesOf(namespace)
      for (const other of others) expect(other).toEqual(first)
      for (const [at, changes] of diffsOf(clients)) expect([at, changes.size]).toEqual([at, 1])
      for (const client of clients) client.close()
    }),
    { numRuns: RUNS },
  )
})

/** Asks until the peer has heard of the name: another one was told of it. */
async function interested(client: WireClient, name: string): Promise<void> {
  await expect.poll(() => client.ask('Interest', { name }), { interval: 10 }).toHaveProperty('Ok')
}

const hello = (n: number) => ({ function: 'hello', state: 'pending', count: n })

test('what a client registers at one peer, a client of another one sees, and gets the rows that the first one has', async () => {
  const { namespace, clients } = await setup()
  const [a, b] = clients
  await b.ask('Register', { name: 'states', plan: byState })
  await b.ask('Interest', { name: 'states' })
  for (let n = 0; n < 3; n++) await work(namespace, { tag: 'enqueue', body: { function: 'hello' } })
  await expect.poll(() => b.rows('states')).toEqual([hello(3)])
  const snapshot = a.next((result) => 'Snapshot' in result)
  await interested(a, 'states')
  await snapshot
  expect(a.rows('states')).toEqual(b.rows('states'))
})

test('a client interested through another peer than the one where the query began is told of every change', async () => {
  const { namespace, clients } = await setup()
  const [a, b, c] = clients
  await a.ask('Register', { name: 'states', plan: byState })
  for (const client of clients) await interested(client, 'states')
  for (let n = 1; n <= 3; n++) {
    await work(namespace, { tag: 'enqueue', body: { function: 'hello' } })
    for (const client of [a, b, c]) await expect.poll(() => client.rows('states')).toEqual([hello(n)])
  }
  for (const [at, changes] of diffsOf(clients)) expect([at, changes.size]).toEqual([at, 1])
})

test('what a client says at a peer that runs no query is heard at the others', async () => {
  const { clients } = await setup()
  const [a, b, quiet] = clients
  await a.ask('CreateAttribute', { name: 'owners', columns: COLUMNS })
  await a.ask('Register', { name: 'owned', plan: { op: 'from', relation: 'owners' } })
  for (const client of [a, b]) await interested(client, 'owned')
  const row = { name: 'hello', n: 1 }
  const transact = () => quiet.ask('Transact', { changes: [{ relation: 'owners', row }] })
  await expect.poll(transact, { interval: 10 }).toHaveProperty('Ok')
  for (const client of [a, b]) await expect.poll(() => client.rows('owned')).toEqual([row])
  expect(await quiet.ask('Status')).toMatchObject({ Status: [expect.anything(), { queries: [] }] })
})

test('answers and errors go to the client that asked, though clients of other peers ask under the same ids', async () => {
  const { clients } = await setup()
  const [a, b, c] = clients
  const asked = clients.map((client, at) => client.ask(...(REQUESTS_OF[at] ?? ['Status', {}])))
  expect(await Promise.all(asked)).toMatchObject([
    { Ok: 2 },
    { Error: [2, 'not_found', expect.anything()] },
    { Status: [2, expect.anything()] },
  ])
  // What each sends is refused, or not, all the same.
  for (let n = 3; n < 23; n++) {
    const register = a.ask('Register', { name: 'states', plan: byState })
    const refused = [b, c].map((client) => client.ask('Unregister', { name: 'nothing' }))
    expect(await register).toEqual({ Ok: n })
    for (const answer of refused) expect(await answer).toMatchObject({ Error: [n, 'not_found', expect.anything()] })
  }
  // Nor does an error cost anybody else an interest.
  await a.ask('Interest', { name: 'states' })
  await interested(b, 'states')
  await b.ask('Unregister', { name: 'nothing' })
  b.close()
  expect(await a.ask('Status')).toMatchObject({
    Status: [24, { queries: [{ name: 'states', clients: 1 }] }],
  })
  for (const client of clients) expect(new Set(idsOf(client.received)).size).toBe(idsOf(client.received).length)
})

const REQUESTS_OF: [tag: string, body: Record<string, unknown>][] = [
  ['Register', { name: 'states', plan: byState }],
  ['Interest', { name: 'nothing' }],
]

const idsOf = (results: readonly LiveResult[]) =>
  results.flatMap((result) => ('Ok' in result ? [result.Ok] : 'Error' in result ? [result.Error[0]] : []))

test('of two planes on one port the second says that it is taken, and ends; on another port both serve', async () => {
  const [port, other] = [await freePort(), await freePort()]
  const serve = (at: string) => callplane(['serve', '--host', '127.0.0.1', '--port', at], { DATABASE_URL: url })
  const first = serve(port)
  await first.prints(/"listening"/)
  const { code, output } = await serve(port).exit
  expect(output).toContain(`port ${port} is in use`)
  expect(code).toBe(1)
  await serve(other).prints(/"listening"/)
  for (const at of [port, other]) expect((await fetch(`http://127.0.0.1:${at}/ready`)).status).toBe(200)
})
