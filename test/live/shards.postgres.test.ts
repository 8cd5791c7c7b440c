// Queries in pieces, held by three peers in three processes over one Postgres.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { migrate } from '../../src/db/migrate.ts'
import { readSchema } from '../../src/db/migrations.node.ts'
import { pgSql, type PgDatabase } from '../../src/db/pg.ts'
import { enqueueJobs } from '../../src/jobs/enqueue.ts'
import { from } from '../../src/protocol/from.ts'
import { freshDatabase } from '../support/fresh-database.ts'
import { aCall } from '../support/wire.ts'
import type { WireClient } from './client.ts'
import { keyOf, startPlane, type PlaneProcess } from './processes.ts'

let url: string
let database: PgDatabase
let planes: PlaneProcess[]

beforeAll(async () => {
  url = await freshDatabase()
  database = pgSql({ connectionString: url, max: 4 })
  await migrate(database.sql, readSchema())
  planes = await Promise.all(Array.from({ length: 3 }, () => startPlane(url)))
})
afterAll(async () => {
  await Promise.all(planes.map((plane) => plane.kill()))
  await database.close()
})

const byFunction = from('jobs').groupBy('function').count().plan

async function enqueue(namespace: string, names: readonly string[]): Promise<void> {
  const calls = await Promise.all(names.map((name) => aCall({ function: name })))
  await enqueueJobs(database.sql, namespace, calls, { retentionMs: 86_400_000 })
}

let namespaces = 0
async function setup(): Promise<{ namespace: string; key: string; clients: [WireClient, WireClient, WireClient] }> {
  const namespace = `shards_${namespaces++}`
  const key = await keyOf(database.sql, namespace)
  const clients = await Promise.all(planes.map((plane) => plane.connect(key)))
  // A peer is known to the others once it has renewed its lease.
  const peers = () => database.sql('select 1 from callplane.peers where namespace = $1', [namespace])
  await expect.poll(peers, { timeout: 20_000 }).toHaveLength(3)
  return { namespace, key, clients: clients as [WireClient, WireClient, WireClient] } // one of each plane
}

test('a query in pieces is the query', async () => {
  const { namespace, clients } = await setup()
  const [a] = clients
  await enqueue(namespace, ['a', 'b', 'b', 'c'])
  expect(await a.ask('Register', { name: 'whole', plan: byFunction })).toHaveProperty('Ok')
  expect(await a.ask('Register', { name: 'shared', plan: byFunction, shards: 3 })).toHaveProperty('Ok')
  expect(await a.ask('Interest', { name: 'whole' })).toHaveProperty('Ok')
  expect(await a.ask('Interest', { name: 'shared' })).toHaveProperty('Ok')
  await expect.poll(() => a.rows('shared')).toEqual(a.rows('whole'))
  await enqueue(namespace, ['d', 'a'])
  await expect.poll(() => a.rows('shared')).toHaveLength(4)
}, 60_000)
