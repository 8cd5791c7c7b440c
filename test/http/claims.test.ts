// Polls that go before their answer, claims that are asked for again, what starts the sweep, and what it tells of.
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { inProcessBell } from '../../src/bell/in-process.ts'
import { SqlError, type Row, type SqlParam } from '../../src/db/sql.ts'
import { completeJobs } from '../../src/jobs/complete.ts'
import { findJob } from '../../src/jobs/find.ts'
import { maintain, maintainAndArm } from '../../src/http/maintenance.ts'
import type { ClaimedJob } from '../../src/protocol/runners.ts'
import { encodeBody } from '../../src/protocol/wire.ts'
import { embeddedSql, setup, type TestPlane } from '../support/plane.ts'
import { aCall, create, pollOnce, post, succeeded } from '../support/wire.ts'

const RUNNER = '22222222-2222-4222-8222-222222222222'
const services = [{ name: 'greeter', functions: ['hello'], capacity: 10 }]

function jobOf({ sql, namespace }: TestPlane, id: string) {
  return findJob(sql, { namespace, services: null }, id)
}

describe('a poll whose runner has gone before the answer', () => {
  test('gives its jobs back at once, and counts no attempt', async () => {
    const gone = new AbortController()
    const sql = await embeddedSql()
    const plane = await setup({
      sql: async <R extends Row>(text: string, params?: readonly SqlParam[]) => {
        const rows = await sql<R>(text, params)
        // The claim has committed; nothing was answered yet.
        if (text.includes('with asked')) gone.abort()
        return rows
      },
    })
    const call = await aCall({ retry: { attempts: 1 } })
    await create(plane, [call])
    await plane.app.request('/v1/runners/poll', {
      method: 'POST',
      headers: { authorization: `Bearer ${plane.key}`, 'content-type': 'application/msgpack' },
      body: encodeBody({ runner: RUNNER, claim: { id: crypto.randomUUID(), waitMs: 0, services } }),
      signal: gone.signal,
    })
    expect(await jobOf(plane, call.id)).toMatchObject({ state: 'pending', attempt: 0, attempts: [] })
    const { jobs } = await pollOnce(plane)
    expect(jobs).toMatchObject([{ id: call.id, attempt: 1, fence: 2 }])
  })

  test('takes none where it has gone before the look: a job is given back a few times only', async () => {
    const plane = await setup()
    const call = await aCall()
    await create(plane, [call])
    await plane.app.request('/v1/runners/poll', {
      method: 'POST',
      headers: { authorization: `Bearer ${plane.key}`, 'content-type': 'application/msgpack' },
      body: encodeBody({ runner: RUNNER, claim: { id: crypto.randomUUID(), waitMs: 0, services } }),
      signal: AbortSignal.abort(),
    })
    expect((await pollOnce(plane)).jobs).toMatchObject([{ id: call.id, fence: 1 }])
  })
})

test('reports do not wait for the sweep that their poll begins', async () => {
  const sql = await embeddedSql()
  const applied = Promise.withResolvers<void>()
  const plane = await setup({
    sql: async <R extends Row>(text: string, params?: readonly SqlParam[]) => {
      if (text.includes('leased.at')) await applied.promise
      const rows = await sql<R>(text, params)
      if (text.includes('completed as')) applied.resolve()
      return rows
    },
  })
  await create(plane, [await aCall()])
  const { jobs } = await pollOnce(plane)
  plane.app.plane.sweeps.lastAtMs = -Infinity
  plane.app.plane.sweeps.askedAtMs = -Infinity
  const reports = jobs.map((job) => succeeded(job, 1))
  const { body } = await post(plane, '/v1/runners/poll', { runner: RUNNER, reports })
  expect(body).toMatchObject({ reports: [{}] })
  expect(plane.statements().some((text) => text.includes('leased.at'))).toBe(true)
})

describe('a claim asked for again', () => {
  test('is answered by what it holds, to its own key and runner alone', async () => {
    const plane = await setup()
    const call = await aCall()
    await create(plane, [call])
    const claim = { id: crypto.randomUUID(), waitMs: 0, services }
    const ask = async (runner: string, key = plane.key) =>
      ((await post(plane, '/v1/runners/poll', { runner, claim }, key)).body as { jobs: { token: string }[] }).jobs
    const [first] = await ask(RUNNER)
    expect(first).toMatchObject({ id: call.id })
    expect(await ask(RUNNER, await plane.newKey())).toEqual([])
    expect(await ask(crypto.randomUUID())).toEqual([])
    expect(await ask(RUNNER)).toMatchObject([{ id: call.id, token: first?.token }])
    expect(await jobOf(plane, call.id)).toMatchObject({ attempt: 1 })
  })

  test('takes what is due where the job that it held ends between the look and the redelivery', async () => {
    const sql = await embeddedSql()
    let held: ClaimedJob | undefined
    const plane = await setup({
      sql: async <R extends Row>(text: string, params?: readonly SqlParam[]) => {
        const rows = await sql<R>(text, params)
        if (text.includes('with asked') && held !== undefined) {
          await completeJobs(sql, plane.namespace, [{ ...held, result: new Uint8Array([1]) }])
          held = undefined
        }
        return rows
      },
    })
    const claimId = crypto.randomUUID()
    const [first, second] = [await aCall(), await aCall()]
    await create(plane, [first])
    const lost = await pollOnce(plane, { claimId })
    await create(plane, [second])
    held = lost.jobs[0]
    expect((await pollOnce(plane, { claimId })).jobs).toMatchObject([{ id: second.id }])
    expect(await jobOf(plane, first.id)).toMatchObject({ state: 'succeeded' })
  })
})

describe('a job whose runner died is tried again', () => {
  /** A job that is running under a lease of a second, and the plane that knows of it. */
  async function stalled(hasAlarm: boolean) {
    const bell = inProcessBell({
      lookEveryMs: Number.POSITIVE_INFINITY,
      ...(hasAlarm ? { sweep: () => maintain(plane.app.plane) } : {}),
    })
    const plane = await setup({ bell })
    onTestFinished(() => bell.close()) // its alarm would go on sweeping under the tests that follow
    // Polls of this plane have just swept, and will not again.
    plane.app.plane.sweeps.lastAtMs = Number.POSITIVE_INFINITY
    const functions = [{ name: 'hello', policy: { leaseMs: 1_000 } }]
    await post(plane, '/v1/runners/register', { runner: RUNNER, services: [{ name: 'greeter', slots: 1, functions }] })
    const call = await aCall()
    await create(plane, [call])
    const { jobs } = await pollOnce(plane, { runner: RUNNER })
    expect(jobs).toHaveLength(1)
    return { plane, call }
  }

  const leaseIsOver = ({ sql, namespace }: TestPlane) =>
    sql(`update callplane.jobs set lease_expires_at = now() - interval '1 second' where namespace = $1`, [namespace])

  test('by the alarm alone, within a second of the end of its lease', async () => {
    const { plane, call } = await stalled(true)
    const startedMs = performance.now()
    const { jobs } = await pollOnce(plane, { waitMs: 20_000 })
    expect(jobs).toMatchObject([{ id: call.id, attempt: 2 }])
    expect(performance.now() - startedMs).toBeLessThan(2_000)
  })

  test('by the timer or the cron trigger alone', async () => {
    const { plane, call } = await stalled(false)
    await leaseIsOver(plane)
    await maintainAndArm(plane.app.plane)
    expect((await pollOnce(plane)).jobs).toMatchObject([{ id: call.id, attempt: 2 }])
  })

  test('by a poll alone, where its process has not swept for a while', async () => {
    const { plane, call } = await stalled(false)
    await leaseIsOver(plane)
    expect((await pollOnce(plane)).jobs).toEqual([])
    plane.app.plane.sweeps.lastAtMs = performance.now() - 10_001
    plane.app.plane.sweeps.askedAtMs = -Infinity
    expect((await pollOnce(plane, { waitMs: 20_000 })).jobs).toMatchObject([{ id: call.id, attempt: 2 }])
  })

  test('but not at once when the database was away: who is alive says so first', async () => {
    let passedMs = 0
    const now = performance.now.bind(performance)
    vi.spyOn(performance, 'now').mockImplementation(() => now() + passedMs)
    onTestFinished(() => void vi.restoreAllMocks())
    const sql = await embeddedSql()
    let isAway = false
    const plane = await setup({
      sql: (text, params) => (isAway ? Promise.reject(new SqlError('gone', null)) : sql(text, params)),
    })
    const call = await aCall()
    await create(plane, [call])
    const [job] = (await pollOnce(plane, { runner: RUNNER })).jobs
    if (job === undefined) throw new Error('there is a job')
    isAway = true
    await expect(maintain(plane.app.plane)).rejects.toThrow('gone')
    passedMs += 60_000
    isAway = false
    await leaseIsOver(plane)
    await maintain(plane.app.plane)
    expect(await jobOf(plane, call.id)).toMatchObject({ state: 'running', attempt: 1 })
    const heartbeats = [{ id: job.id, token: job.token }]
    expect((await pollOnce(plane, { runner: RUNNER, capacity: 0, heartbeats })).heartbeats).toEqual([{}])
    // Who says nothing is dead after all.
    passedMs += 10_001
    await leaseIsOver(plane)
    await maintain(plane.app.plane)
    expect(await jobOf(plane, call.id)).toMatchObject({ state: 'pending', attempt: 1 })
  })

  test('and what the dead one still reports is refused', async () => {
    const { plane, call } = await stalled(false)
    const [held] = (await jobOf(plane, call.id))?.attempts ?? []
    expect(held).toMatchObject({ attempt: 1, outcome: null })
    const [row] = await plane.sql<{ token: string }>(
      `select lease_token as token from callplane.jobs where namespace = $1`,
      [plane.namespace],
    )
    await leaseIsOver(plane)
    await maintain(plane.app.plane)
    const [again] = (await pollOnce(plane)).jobs
    const late = { ...again, id: call.id, token: row?.token ?? '' }
    const reports = [succeeded(late as NonNullable<typeof again>, 'late')] // a job but for its token
    expect((await pollOnce(plane, { capacity: 0, reports })).reports).toMatchObject([{ error: { code: 'lease_lost' } }])
    expect(await jobOf(plane, call.id)).toMatchObject({ state: 'running', attempt: 2 })
  })
})

test('a delayed job that becomes due is rung for, and is not one that the sweep moved', async () => {
  const plane = await setup()
  const { bell, metrics } = plane.app.plane
  await plane.sql('delete from callplane.jobs') // what the tests before have left running would be swept too
  const [delayed, stalled] = [await aCall({ delayMs: 60_000 }), await aCall({ service: 'other' })]
  await create(plane, [delayed, stalled])
  await plane.sql(
    `update callplane.jobs set created_at = now() - interval '1 minute', run_at = now() - interval '0.1 seconds'
    where namespace = $1 and id = $2::uuid`,
    [plane.namespace, delayed.id],
  )
  const interest = { namespace: plane.namespace, claimId: crypto.randomUUID(), services: ['greeter'], kind: '' }
  const waiter = await bell.join(interest)
  await maintain(plane.app.plane)
  expect(await waiter.woken(1_000)).toMatchObject({ why: 'rung' })
  waiter.leave()
  expect(plane.logged).toEqual([])
  expect(metrics.text()).not.toContain('callplane_jobs_swept_total{')

  expect((await pollOnce(plane, { service: 'other' })).jobs).toHaveLength(1)
  await plane.sql(
    `update callplane.jobs set lease_expires_at = now() - interval '1 second' where namespace = $1 and state = 'running'`,
    [plane.namespace],
  )
  await maintain(plane.app.plane)
  expect(plane.logged).toMatchObject([{ event: 'swept', namespace: plane.namespace, retried: 1, failed: 0 }])
  expect(metrics.text()).toContain('callplane_jobs_swept_total{to="pending"} 1\n')
})

test('that a runner is at work is written with its work, and once in a while', async () => {
  const plane = await setup()
  const isSeen = (text: string) => text.includes('set seen_at')
  const take = async () => {
    await create(plane, [await aCall()])
    return pollOnce(plane)
  }
  plane.statements()
  await take()
  await take()
  await pollOnce(plane, { runner: RUNNER })
  expect(plane.statements().filter(isSeen)).toHaveLength(1)
})
