// A process whose jobs fill the log: made, claimed, ended and forgotten by the product's own statements, many at once.
//
//   node producer.ts DATABASE_URL NAMESPACE EVENTS_PER_SECOND
//
// It says how many events were acknowledged, once a second. Told to stop, it ends what is open, leaves some jobs that wait, and
// says so. Whatever the database does meanwhile, it goes on.
import { pgSql } from '../../../src/db/pg.ts'
import type { Sql } from '../../../src/db/sql.ts'
import { claimJobs } from '../../../src/jobs/claim.ts'
import { completeJobs } from '../../../src/jobs/complete.ts'
import { enqueueJobs } from '../../../src/jobs/enqueue.ts'
import { failJobs } from '../../../src/jobs/fail.ts'
import { forgetEvents, forgetJobs } from '../../../src/jobs/forget.ts'
import { newCallId } from '../../../src/protocol/call-id.ts'
import { encodePayload } from '../../../src/protocol/codec.ts'
import { argsDigest } from '../../../src/protocol/digest.ts'
import { FUNCTIONS } from './queries.ts'

/** Each fills the log by itself, so that transactions overlap. */
const LANES = 2
/** Events of a job: made, claimed, ended, forgotten. */
const EVENTS_A_JOB = 4
const MOST_JOBS_A_TURN = 400
const RETENTION_MS = 86_400_000
/** After its end, a job is kept for so long, and its events for as long again and more: who was away may still read them. */
const KEPT_MS = 20_000
const EVENTS_KEPT_MS = 60_000
const FORGET_EVERY_MS = 250
/**
 * Nothing more is made while so much waits for its tick: what the machine cannot do is not asked of it. It is more than comes
 * until another gives the ticks in the place of one that was killed.
 */
const MAX_UNSTAMPED = 60_000
const LOOK_EVERY_MS = 250
/** One in so many fails. */
const FAILING = 10
const LEFT_WAITING = 30
const AGAIN_MS = 200

const [databaseUrl = '', namespace = '', perSecond = ''] = process.argv.slice(2)
const { sql, close } = pgSql({ connectionString: databaseUrl, max: LANES + 2 })
const jobsPerSecond = Number(perSecond) / EVENTS_A_JOB / LANES
const over = new AbortController()
let events = 0
let calls = 0
let isBehind = false

const rest = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

async function make(service: string, count: number): Promise<void> {
  const made = await Promise.all(
    Array.from({ length: count }, async () => {
      const args = encodePayload([++calls], 'args')
      const name = FUNCTIONS[calls % FUNCTIONS.length] ?? ''
      return { id: newCallId(), service, function: name, args, argsDigest: await argsDigest(args) }
    }),
  )
  await enqueueJobs(sql, namespace, made, { retentionMs: RETENTION_MS })
  events += count
}

/** Claims jobs and ends them. A claim whose answer was lost is made again, and gets the same. How many there were. */
async function work(service: string, runner: { namespace: string; id: string }, claimId: string): Promise<number> {
  const services = [{ name: service, functions: [...FUNCTIONS], capacity: MOST_JOBS_A_TURN }]
  const { jobs } = await claimJobs(sql, runner, { claimId, services, maxBytes: 1e6 })
  const leases = jobs.map(({ id, token, fence }, at) => ({ id, token, fence, isFailing: at % FAILING === 0 }))
  const [failing, others] = [true, false].map((isFailing) => leases.filter((lease) => lease.isFailing === isFailing))
  const error = encodePayload(new Error('as it must'), 'error')
  await failJobs(sql, namespace, failing?.map(({ id, token }) => ({ id, token, error, isRetryable: false })) ?? [])
  await completeJobs(
    sql,
    namespace,
    others?.map(({ id, token, fence }) => ({ id, token, result: encodePayload({ fence }, 'result') })) ?? [],
  )
  events += 2 * jobs.length
  return jobs.length
}

async function lane(n: number): Promise<void> {
  const service = `flood-${n}`
  const runner = { namespace, id: crypto.randomUUID() }
  let claimId = crypto.randomUUID()
  let made = 0
  const beganMs = performance.now()
  for (;;) {
    try {
      const due = Math.floor(((performance.now() - beganMs) / 1_000) * jobsPerSecond) - made
      const count = over.signal.aborted || isBehind ? 0 : Math.min(due, MOST_JOBS_A_TURN)
      if (count > 0) await make(service, count)
      // What could not be made while the database was away is made later.
      made += count
      const done = await work(service, runner, claimId)
      claimId = crypto.randomUUID()
      if (done > 0 || count > 0) continue
      if (over.signal.aborted && (await countOpen(sql, service)) === 0) return
      await rest(20)
    } catch (error) {
      process.stdout.write(`${String(error).slice(0, 200)}\n`)
      await rest(AGAIN_MS)
    }
  }
}

async function countOpen(of: Sql, service: string): Promise<number> {
  const [row] = await of<{ open: number }>(
    /* sql */ `
    select count(*) as open from callplane.jobs
    where namespace = $1 and service = $2 and state in ('pending', 'running')`,
    [namespace, service],
  )
  return row?.open ?? 0
}

async function forget(): Promise<void> {
  while (!over.signal.aborted) {
    try {
      const forgotten = await forgetJobs(sql, { retentionMs: KEPT_MS, limit: 1_000 })
      events += forgotten
      const ofEvents = await forgetEvents(sql, { keptMs: EVENTS_KEPT_MS, limit: 1_000 })
      if (forgotten + ofEvents === 0) await rest(FORGET_EVERY_MS)
    } catch {
      await rest(AGAIN_MS)
    }
  }
}

/** Whether whoever gives the ticks comes along. */
async function look(): Promise<void> {
  while (!over.signal.aborted) {
    try {
      const rows = await sql(
        /* sql */ `
        select 1 from callplane.events
        where namespace = $1 and tick is null and at > now() - interval '60 seconds'
        limit $2::int8`,
        [namespace, MAX_UNSTAMPED],
      )
      isBehind = rows.length === MAX_UNSTAMPED
    } catch {} // It is not there for a moment.
    await rest(LOOK_EVERY_MS)
  }
}

process.on('SIGTERM', () => over.abort())
const say = setInterval(() => process.stdout.write(`${events} events\n`), 1_000)
await Promise.all([...Array.from({ length: LANES }, (_, n) => lane(n)), forget(), look()])
clearInterval(say)
await make('left', LEFT_WAITING)
process.stdout.write(`${events} events, and drained\n`)
await close()
