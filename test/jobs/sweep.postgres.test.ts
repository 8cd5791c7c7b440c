// Sweeps that run side by side, and races for the end of one attempt, on a real Postgres: one winner each.
import { expect, test } from 'vitest'
import { cancelJobs } from '../../src/jobs/cancel.ts'
import { claimJobs } from '../../src/jobs/claim.ts'
import { completeJobs } from '../../src/jobs/complete.ts'
import { enqueueJobs } from '../../src/jobs/enqueue.ts'
import { failJobs } from '../../src/jobs/fail.ts'
import { giveBackJobs } from '../../src/jobs/give-back.ts'
import { heartbeatJobs } from '../../src/jobs/heartbeat.ts'
import { sweep } from '../../src/jobs/sweep.ts'
import { newCallId } from '../../src/protocol/call-id.ts'
import type { CallRequest } from '../../src/protocol/calls.ts'
import type { ClaimedJob } from '../../src/protocol/runners.ts'
import { migratedDatabase } from '../support/fresh-database.ts'

const RETENTION_MS = 7 * 86_400_000
const { database } = await migratedDatabase({ max: 10 })

/** Makes jobs and claims them all. */
async function running(namespace: string, count: number, options: Partial<CallRequest> = {}): Promise<ClaimedJob[]> {
  const runner = { namespace, id: crypto.randomUUID() }
  const services = [{ name: 's', functions: ['f'], capacity: 1_000 }]
  const all: ClaimedJob[] = []
  while (all.length < count) {
    const calls = Array.from({ length: Math.min(1_000, count - all.length) }, () => ({
      id: newCallId(),
      service: 's',
      function: 'f',
      args: new Uint8Array([1]),
      argsDigest: new Uint8Array(32),
      ...options,
    }))
    await enqueueJobs(database.sql, namespace, calls, { retentionMs: RETENTION_MS })
    const { jobs } = await claimJobs(database.sql, runner, { claimId: crypto.randomUUID(), services, maxBytes: 1e6 })
    all.push(...jobs)
  }
  return all
}

async function sweepOnce(): Promise<number> {
  let count = 0
  for await (const moved of sweep(database.sql, { retentionMs: RETENTION_MS, rounds: 100 })) count += moved.length
  return count
}

test('five sweeps at once over 10,000 stalled jobs try each again once', { timeout: 120_000 }, async () => {
  await running('stalled', 10_000)
  await database.sql(`update callplane.jobs set lease_expires_at = now() - interval '1 second' where state = 'running'`)
  const moved = await Promise.all([1, 2, 3, 4, 5].map(sweepOnce))
  expect(moved.reduce((sum, count) => sum + count, 0)).toBe(10_000)
  const [{ pending, attempts, ended } = {}] = await database.sql(
    `select count(*) filter (where state = 'pending') as pending, max(attempt) as attempts,
      (select count(*) from callplane.attempts where namespace = 'stalled' and outcome = 'stalled') as ended
    from callplane.jobs where namespace = 'stalled'`,
  )
  expect([pending, attempts, ended]).toEqual([10_000, 1, 10_000])
})

test('five sweeps at once forget 5,000 old jobs with their attempts, and nothing else', async () => {
  const jobs = await running('old', 6_000)
  for (let start = 0; start < jobs.length; start += 1_000) {
    const reports = jobs
      .slice(start, start + 1_000)
      .map(({ id, token }) => ({ id, token, result: new Uint8Array([1]) }))
    await completeJobs(database.sql, 'old', reports)
  }
  const old = jobs.slice(0, 5_000).map(({ id }) => id)
  await database.sql(
    `update callplane.jobs set finished_at = now() - interval '8 days' where namespace = 'old' and id = any($1::uuid[])`,
    [old],
  )
  await Promise.all([1, 2, 3, 4, 5].map(sweepOnce))
  for (const table of ['jobs', 'attempts']) {
    const [row] = await database.sql(`select count(*) as left from callplane.${table} where namespace = 'old'`)
    expect(row).toEqual({ left: 1_000 })
  }
})

/** What each contender was told, and whether it says that this contender ended the attempt. */
const CONTENDERS: Record<string, (namespace: string, job: ClaimedJob) => Promise<boolean>> = {
  async complete(namespace, { id, token }) {
    const [verdict] = await completeJobs(database.sql, namespace, [{ id, token, result: new Uint8Array([1]) }])
    return verdict !== undefined && 'isFirst' in verdict && verdict.isFirst
  },
  async fail(namespace, { id, token }) {
    const error = new Uint8Array([2])
    const [verdict] = await failJobs(database.sql, namespace, [{ id, token, error, isRetryable: false }])
    return verdict !== undefined && 'isFirst' in verdict && verdict.isFirst
  },
  async cancel(namespace, { id }) {
    const [cancelled] = await cancelJobs(database.sql, { namespace, services: null }, [id], 'no')
    return cancelled?.isFirst === true
  },
  async 'give back'(namespace, { id, token }) {
    return (await giveBackJobs(database.sql, namespace, [{ id, token }])).length > 0
  },
}

test(
  'complete, fail, cancel and give back of one attempt at once: one of them ends it',
  { timeout: 60_000 },
  async () => {
    const names = Object.keys(CONTENDERS)
    const wins = new Map(names.map((name) => [name, 0]))
    const jobs = await running('races', 500)
    for (const [index, job] of jobs.entries()) {
      // In another order each time: who is asked first has an advantage.
      const order = names.map((_, place) => names[(place + index) % names.length] ?? '')
      const results = await Promise.all(
        order.map(async (name) => ({ name, hasWon: await CONTENDERS[name]?.('races', job) })),
      )
      const winners = results.filter(({ hasWon }) => hasWon).map(({ name }) => name)
      // A cancel may also end what was just given back: that is another end, of a pending job.
      const ends = winners.filter((name) => name !== 'give back')
      expect(ends.length).toBeLessThanOrEqual(1)
      expect(winners.length).toBeGreaterThan(0)
      if (winners.length === 2) expect(winners).toContain('cancel')
      for (const name of winners) wins.set(name, (wins.get(name) ?? 0) + 1)
      const [row] = await database.sql<{ state: string }>(
        `select state from callplane.jobs where namespace = 'races' and id = $1::uuid`,
        [job.id],
      )
      const state = { complete: 'succeeded', fail: 'failed', cancel: 'cancelled' }[ends[0] ?? ''] ?? 'pending'
      expect(row?.state).toBe(state)
    }
    // Each has won at times: else this was no race.
    for (const [name, count] of wins) expect(count, name).toBeGreaterThan(0)
  },
)

test('a heartbeat that arrives with the sweep either keeps the lease or learns that it is lost', async () => {
  const jobs = await running('beats', 200)
  for (const { id, token } of jobs) {
    await database.sql(
      `update callplane.jobs set lease_expires_at = now() - interval '1 second' where namespace = 'beats' and id = $1::uuid`,
      [id],
    )
    const [[refusal]] = await Promise.all([heartbeatJobs(database.sql, 'beats', [{ id, token }]), sweepOnce()])
    const [row] = await database.sql<{ state: string }>(
      `select state from callplane.jobs where namespace = 'beats' and id = $1::uuid`,
      [id],
    )
    expect(row?.state).toBe(refusal === null ? 'running' : 'pending')
  }
})
