// Every transition of one job reads a few rows, and not all of them, by a plan that was made while the table was empty.
import { beforeAll, expect, test } from 'vitest'
import { cancelJobs } from '../../src/jobs/cancel.ts'
import { claimJobs } from '../../src/jobs/claim.ts'
import { completeJobs } from '../../src/jobs/complete.ts'
import { enqueueJobs } from '../../src/jobs/enqueue.ts'
import { expireJobs } from '../../src/jobs/expire.ts'
import { failJobs } from '../../src/jobs/fail.ts'
import { findOutcomes } from '../../src/jobs/find.ts'
import { giveBackJobs } from '../../src/jobs/give-back.ts'
import { heartbeatJobs } from '../../src/jobs/heartbeat.ts'
import { findNextDuties } from '../../src/jobs/overdue.ts'
import { redeliverJobs } from '../../src/jobs/redeliver.ts'
import { retryStalledJobs } from '../../src/jobs/stall.ts'
import { newCallId } from '../../src/protocol/call-id.ts'
import type { LeaseRef } from '../../src/jobs/lease.ts'
import type { ClaimedJob } from '../../src/protocol/runners.ts'
import { migratedDatabase } from '../support/fresh-database.ts'

const JOBS = 3_000
const REACH = { namespace: 'plans', services: null }
const RUNNER = { namespace: 'plans', id: crypto.randomUUID() }
/** The claim whose answer was lost: it holds one job. */
const LOST = crypto.randomUUID()
const { database } = await migratedDatabase({ max: 1 })
let held: ClaimedJob[]
let isEmpty = true

const aCall = () => {
  return { id: newCallId(), service: 's', function: 'f', args: new Uint8Array([1]), argsDigest: new Uint8Array(32) }
}
const enqueue = (count: number) =>
  enqueueJobs(database.sql, 'plans', Array.from({ length: count }, aCall), { retentionMs: 7 * 86_400_000 })
const claim = async (capacity: number, claimId: string = crypto.randomUUID()) => {
  const services = [{ name: 's', functions: ['f'], capacity }]
  return (await claimJobs(database.sql, RUNNER, { claimId, services, maxBytes: 1e6 })).jobs
}

beforeAll(async () => {
  for (const table of ['jobs', 'attempts']) {
    await database.sql(`alter table callplane.${table} set (autovacuum_enabled = false)`)
  }
  // Each plan is made now, and kept by the connection.
  for (const run of Object.values(TRANSITIONS)) await run()
  isEmpty = false
  for (let made = 0; made < JOBS; made += 1_000) await enqueue(1_000)
  held = await claim(1_000)
  await claim(1, LOST)
}, 60_000)

/** Rows of jobs and attempts that this connection has read so far. */
async function rowsRead(): Promise<number> {
  await database.sql('select pg_stat_force_next_flush()')
  const [row] = await database.sql<{ read: number }>(
    `select sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::int8 as read from pg_stat_user_tables
    where schemaname = 'callplane' and relname in ('jobs', 'attempts')`,
  )
  return row?.read ?? 0
}

function takeHeld(): LeaseRef {
  if (isEmpty) return { id: newCallId(), token: crypto.randomUUID() }
  const job = held.pop()
  if (job === undefined) throw new Error('no job is left to try it on')
  return job
}

/** One job that is held has been due for its end since a second ago; who sweeps must find it. */
async function sweepOne(end: 'lease_expires_at' | 'deadline_at', sweep: () => Promise<unknown[]>): Promise<void> {
  await database.sql(
    `update callplane.jobs set ${end} = now() - interval '1 second' where namespace = 'plans' and id = $1::uuid`,
    [takeHeld().id],
  )
  expect(await sweep()).toHaveLength(isEmpty ? 0 : 1)
}

const TRANSITIONS: Record<string, () => Promise<unknown>> = {
  enqueue: () => enqueue(isEmpty ? 0 : 1),
  complete: () => completeJobs(database.sql, 'plans', [{ ...takeHeld(), result: new Uint8Array([1]) }]),
  fail: () => failJobs(database.sql, 'plans', [{ ...takeHeld(), error: new Uint8Array([1]), isRetryable: false }]),
  heartbeat: () => heartbeatJobs(database.sql, 'plans', [takeHeld()]),
  'give back': () => giveBackJobs(database.sql, 'plans', [takeHeld()]),
  cancel: () => cancelJobs(database.sql, REACH, [takeHeld().id], 'no'),
  find: () => findOutcomes(database.sql, REACH, [takeHeld().id], { maxBytes: 1e6 }),
  claim: () => claim(1),
  redeliver: async () => {
    expect(await redeliverJobs(database.sql, RUNNER, { claimId: LOST, services: ['s'] })).toHaveLength(isEmpty ? 0 : 1)
  },
  stall: () => sweepOne('lease_expires_at', () => retryStalledJobs(database.sql, { limit: 500 })),
  expire: () => sweepOne('deadline_at', () => expireJobs(database.sql, { limit: 500 })),
}

test.each(Object.entries(TRANSITIONS))('%s', async (_, run) => {
  const before = await rowsRead()
  await run()
  expect((await rowsRead()) - before).toBeLessThan(100)
})

/** Entries of indexes that this connection has read so far, also where the index alone tells. */
async function entriesRead(): Promise<number> {
  await database.sql('select pg_stat_force_next_flush()')
  const [row] = await database.sql<{ read: number }>(
    `select sum(idx_tup_read)::int8 as read from pg_stat_user_indexes where schemaname = 'callplane'`,
  )
  return row?.read ?? 0
}

// The last: it takes all that is left, tells Postgres what is in the table, and plans are made anew.
test('what is due next, where Postgres knows that there is one namespace alone', async () => {
  for (let taken = 1; taken > 0;) taken = (await claim(1_000)).length
  await database.sql('vacuum analyze callplane.jobs')
  const before = await entriesRead()
  const { lease } = await findNextDuties(database.sql, { retentionMs: 1_000, eventsKeptMs: 1_000, sinceMs: 1_000 })
  expect(lease).toBeGreaterThan(0)
  expect((await entriesRead()) - before).toBeLessThan(100)
})
