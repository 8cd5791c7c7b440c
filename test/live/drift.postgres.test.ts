// What clients were told, against the same view in SQL: after many writers at once, with cancels, retries and retention, and
// clients that came in the midst of it.
import { afterAll, expect, test } from 'vitest'
import { cancelJobs } from '../../src/jobs/cancel.ts'
import { claimJobs } from '../../src/jobs/claim.ts'
import { completeJobs } from '../../src/jobs/complete.ts'
import { enqueueJobs } from '../../src/jobs/enqueue.ts'
import { failJobs } from '../../src/jobs/fail.ts'
import { forgetJobs } from '../../src/jobs/forget.ts'
import { giveBackJobs } from '../../src/jobs/give-back.ts'
import { redriveJobs } from '../../src/jobs/redrive.ts'
import { retryStalledJobs } from '../../src/jobs/stall.ts'
import { planSql, readRows } from '../../src/live/plan-sql.ts'
import { threadedLog } from '../../src/live/threaded-log.node.ts'
import { avg, count, max, median, min, p95, sum } from '../../src/protocol/aggregation.ts'
import { from } from '../../src/protocol/from.ts'
import { parsePlan } from '../../src/protocol/parse-plan.ts'
import { RELATIONS } from '../../src/protocol/relations.ts'
import { migratedDatabase } from '../support/fresh-database.ts'
import { aCall } from '../support/wire.ts'
import type { WireClient } from './client.ts'
import { newStage } from './stage.ts'

const isLong = process.env['CALLPLANE_LONG'] === '1'
const RUN_MS = isLong ? 60_000 : 5_000
const WRITERS = 16
const FUNCTIONS = ['hello', 'bye', 'again']

const failed = from('jobs').where({ state: 'failed' })
const PLANS = new Map([
  ['states', from('jobs').groupBy('service', 'function', 'state').count().plan],
  [
    'times',
    from('jobs')
      .groupBy('function')
      .aggregate({
        calls: count(),
        run: sum('run_ms'),
        least: min('wait_ms'),
        most: max('wait_ms'),
        mean: avg('run_ms'),
      }).plan,
  ],
  [
    'middles',
    from('jobs')
      .where({ state: 'succeeded' })
      .groupBy('function')
      .aggregate({ p95: p95('wait_ms'), half: median('wait_ms') }).plan,
  ],
  ['first', from('jobs').select('id', 'priority', 'state', 'attempt').orderBy('priority', 'desc').limit(10).plan],
  ['failed', failed.select('id', 'failure').plan],
  [
    'beside',
    from('jobs')
      .where({ state: 'running' })
      .join(failed.groupBy('function').count(), { on: 'function', prefix: 'failed_' })
      .select('id', 'function', 'failed_count').plan,
  ],
  ['runners', from('jobs').where('runner', '!=', '').select('runner').distinct().plan],
])

const { url, database } = await migratedDatabase({ max: WRITERS })
const log = threadedLog(url)
afterAll(() => log.close())

test('the rows that clients add up are those of the tables, whoever wrote what at once', async () => {
  const { sql } = database
  const stage = await newStage({ sql, openLog: log.openLog })
  const { namespace } = stage
  const over = new AbortController()
  const reach = { namespace, services: null }

  const write = async (index: number) => {
    while (!over.signal.aborted) {
      const calls = await Promise.all(
        Array.from({ length: 1 + (index % 4) }, (_, n) =>
          aCall({
            function: FUNCTIONS[(index + n) % 3] ?? 'hello',
            priority: index * 10 + n,
            ...(index % 2 === 0 ? { retry: { attempts: 2, backoff: { initialMs: 1 } } } : {}),
          }),
        ),
      )
      await enqueueJobs(sql, namespace, calls, { retentionMs: 86_400_000 })
      const runner = { namespace, id: crypto.randomUUID() }
      const services = [{ name: 'greeter', functions: FUNCTIONS, capacity: 4 }]
      const { jobs } = await claimJobs(sql, runner, { claimId: crypto.randomUUID(), services, maxBytes: 1e6 })
      const [first, second, third, ...rest] = jobs
      await Promise.all([
        first && giveBackJobs(sql, namespace, [first]),
        second && failJobs(sql, namespace, [{ ...second, error: new Uint8Array([1]), isRetryable: true }]),
        third && cancelJobs(sql, reach, [third.id], 'no longer wanted'),
        completeJobs(
          sql,
          namespace,
          rest.map((job) => ({ ...job, result: new Uint8Array([1]) })),
        ),
        index === 3 && forgetJobs(sql, { retentionMs: 1_000, limit: 20 }),
        index === 5 &&
          redriveJobs(
            sql,
            reach,
            calls.map(({ id }) => id),
          ),
        index === 7 && retryStalledJobs(sql, { limit: 10 }),
      ])
      if (index === 7) {
        await sql(
          `update callplane.jobs set lease_expires_at = now() where namespace = $1 and id in (
             select id from callplane.jobs where namespace = $1 and state = 'running' limit 3) and state = 'running'`,
          [namespace],
        )
      }
    }
  }
  const writing = Array.from({ length: WRITERS }, (_, index) => write(index))

  // Clients come in the midst of it, each for a query or two.
  const clients: { client: WireClient; name: string }[] = []
  const first = await stage.connect()
  await first.askAll(Array.from(PLANS, ([name, plan]) => ['Register', { name, plan }] as const))
  const until = performance.now() + RUN_MS
  for (let n = 0; performance.now() < until; n++) {
    const name = [...PLANS.keys()][n % PLANS.size] ?? ''
    const client = n % 3 === 0 ? first : await stage.connect()
    expect(await client.ask('Interest', { name })).toHaveProperty('Ok')
    clients.push({ client, name })
    await new Promise((resolve) => setTimeout(resolve, RUN_MS / 25))
  }
  over.abort()
  await Promise.all(writing)
  stage.peer.poke()

  const isTold = () =>
    sql<{ unstamped: number; tick: number }>(
      `select h.tick, (select count(*) from callplane.events where namespace = $1 and tick is null and at >= h.watched_from)
         as unstamped from callplane.heads h where namespace = $1`,
      [namespace],
    )
  await expect.poll(async () => (await isTold())[0]?.unstamped, { timeout: 30_000 }).toBe(0)
  const [head] = await isTold()
  await expect
    .poll(async () => (await first.ask('Status')) as unknown, { timeout: 30_000 })
    .toMatchObject({ Status: [expect.anything(), { tick: head?.tick }] })
  expect(head?.tick).toBeGreaterThan(100)
  for (const { client, name } of clients) {
    const { plan, columns } = parsePlan(PLANS.get(name), RELATIONS)
    const { text, params } = planSql(plan, { relations: RELATIONS, namespace, nowMs: 0 })
    const rows = readRows(await sql(text, params), columns)
    const inTables = rows.map((row) =>
      JSON.stringify(Object.fromEntries([...columns.keys()].map((of, at) => [of, row[at]]))),
    )
    const told = client.rows(name).map((row) => JSON.stringify(row))
    expect(told, name).toEqual(inTables.toSorted((a, b) => (a < b ? -1 : 1)))
    expect(told.length, name).toBeGreaterThan(0)
  }
  expect(stage.logged).toEqual([])
}, 120_000)
