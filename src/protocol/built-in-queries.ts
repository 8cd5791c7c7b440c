// The queries that everyone who runs a plane asks, as plans: `callplane watch NAME` shows them. A column named `…_at` is a
// time, `…_ms` a duration, `…_rate` a share.
import { count, failureRate, min, p50, p95, p99 } from './aggregation.ts'
import { isNull, not } from './condition.ts'
import { literal } from './expression.ts'
import { from } from './from.ts'
import type { Plan } from './plan.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 3_600_000

const jobs = from('jobs')
const ended = jobs.where(not(isNull('finished_at')))

/** What waits, by service: how many, and since when the oldest. */
const queues = jobs
  .where({ state: 'pending' })
  .groupBy('service')
  .aggregate({ depth: count(), oldest_at: min('created_at') })

/** What runs, by runner and service. */
const running = jobs
  .where({ state: 'running' })
  .groupBy('runner', 'service')
  .aggregate({ running: count(), oldest_at: min('started_at') })

/** What ended within a window, by function, and the share of it that failed. */
const ratesOver = (window: string, lengthMs: number) =>
  ended
    .window('finished_at', lengthMs)
    .map({ window: literal<string>(window) })
    .groupBy('service', 'function', 'window')
    .aggregate({ ended: count(), failure_rate: failureRate() })

const rates = ratesOver('1m', MINUTE_MS)
  .unionAll(ratesOver('5m', 5 * MINUTE_MS))
  .unionAll(ratesOver('1h', HOUR_MS))

/** How long calls of the last hour waited and ran, by function. */
const latency = ended
  .window('finished_at', HOUR_MS)
  .groupBy('service', 'function')
  .aggregate({
    ended: count(),
    p50_wait_ms: p50('wait_ms'),
    p95_wait_ms: p95('wait_ms'),
    p99_wait_ms: p99('wait_ms'),
    p50_run_ms: p50('run_ms'),
    p95_run_ms: p95('run_ms'),
    p99_run_ms: p99('run_ms'),
  })

/** What has been running for longest. */
const slowest = jobs
  .where({ state: 'running' })
  .select('id', 'service', 'function', 'runner', 'attempt', 'started_at')
  .orderBy('started_at')
  .limit(20)

/** What failed last, and was not run anew since. */
const dead = jobs
  .where({ state: 'failed' })
  .antiJoin(from('redrives'), { on: [['id', 'redriven_from']] })
  .select('id', 'service', 'function', 'failure', 'attempt', 'created_at', 'finished_at')
  .orderBy('finished_at', 'desc')
  .limit(200)

/** The runners that have not left. */
const runners = from('runners').where({ left_at: null }).select('id', 'host', 'sdk', 'joined_at')

/** Name → plan. */
export const BUILT_IN_QUERIES: ReadonlyMap<string, Plan> = new Map(
  Object.entries({ queues, running, rates, latency, slowest, dead, runners }).map(([name, { plan }]) => [name, plan]),
)
