// What follows the log reads what is new, and not the events of before, by plans that were made on empty tables.
import { beforeAll, expect, test } from 'vitest'
import { enqueueJobs } from '../../src/jobs/enqueue.ts'
import { hydrate } from '../../src/live/hydrate.ts'
import { readLog } from '../../src/live/log.ts'
import { beginWatching, stampEvents, takeHead, type Stamper } from '../../src/live/stamp.ts'
import { RELATIONS } from '../../src/protocol/relations.ts'
import { migratedDatabase } from '../support/fresh-database.ts'
import { aCall } from '../support/wire.ts'

const NAMESPACE = 'plans'
const LEASE = { leaseMs: 600_000 }
const { database } = await migratedDatabase({ max: 1 })
let stamper: Stamper

const stamp = (limit = 5_000) => stampEvents(database.sql, stamper, { limit, ...LEASE })
const READERS: [string, () => Promise<unknown>][] = [
  ['a stamp', () => stamp()],
  ['a stamp of some of them', () => stamp(1)],
  ['a stamp of commands', () => stampEvents(database.sql, stamper, { limit: 5_000, ...LEASE, isOfClients: true })],
  ['a hydration', () => hydrate(database.sql, [], { relations: RELATIONS, namespace: NAMESPACE, nowMs: 0 })],
]

beforeAll(async () => {
  await database.sql('alter table callplane.events set (autovacuum_enabled = false)')
  await beginWatching(database.sql, NAMESPACE)
  const held = await takeHead(database.sql, NAMESPACE, crypto.randomUUID(), LEASE)
  if (held === null) throw new Error('another stamps')
  stamper = held
  // Postgres plans a statement anew for its first five runs, and keeps what it made then.
  for (const [, run] of READERS) for (let n = 0; n < 6; n++) await run()
  await database.sql(
    `insert into callplane.events (namespace, subject_id, at, to_state, service, function, priority, created_at, run_at,
       fence, attempt)
     select $1, gen_random_uuid(), now() - interval '1 hour', 'pending', 'old', 'f', 0, now(), now(), 0, 0
     from generate_series(1, 20000)`,
    [NAMESPACE],
  )
}, 60_000)

async function eventsRead(): Promise<number> {
  await database.sql('select pg_stat_force_next_flush()')
  const [row] = await database.sql<{ read: number }>(
    `select (select coalesce(sum(seq_tup_read), 0) from pg_stat_user_tables where relname = 'events')::int8
       + (select coalesce(sum(idx_tup_read), 0) from pg_stat_user_indexes where relname = 'events')::int8 as read`,
  )
  return row?.read ?? 0
}

test.each(READERS)('%s beside events from before anybody watched', async (_, run) => {
  const calls = await Promise.all([aCall(), aCall()])
  await enqueueJobs(database.sql, NAMESPACE, calls, { retentionMs: 86_400_000 })
  const before = await eventsRead()
  await run()
  expect((await eventsRead()) - before).toBeLessThan(100)
})

test('what is stamped is not walked again by who stamps what comes after', async () => {
  const { sql } = database
  // As if all of it were from before any transaction that may still be open.
  await sql(`update callplane.heads set watched_from = now() - interval '2 hours' where namespace = $1`, [NAMESPACE])
  for (let left = 1; left > 0;) left = (await stamp())?.length ?? 0
  const calls = await Promise.all([aCall(), aCall()])
  await enqueueJobs(sql, NAMESPACE, calls, { retentionMs: 86_400_000 })
  await stamp()
  const [head] = await sql<{ is_near: boolean; tick: number }>(
    `select watched_from > now() - interval '2 minutes' as is_near, tick from callplane.heads where namespace = $1`,
    [NAMESPACE],
  )
  expect(head?.is_near).toBe(true)
  const before = await eventsRead()
  await readLog(sql, NAMESPACE, { after: (head?.tick ?? 0) - 1, limit: 5_000 })
  expect((await eventsRead()) - before).toBeLessThan(100)
})
