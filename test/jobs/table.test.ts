// The table of the job's life: every state × every verb, and what must happen. A new state or verb does not compile here.
import { beforeEach, describe, expect, test } from 'vitest'
import type { Sql } from '../../src/db/sql.ts'
import { cancelJobs } from '../../src/jobs/cancel.ts'
import { claimJobs } from '../../src/jobs/claim.ts'
import { completeJobs } from '../../src/jobs/complete.ts'
import { enqueueJobs } from '../../src/jobs/enqueue.ts'
import { failJobs } from '../../src/jobs/fail.ts'
import { findJob, findOutcomes } from '../../src/jobs/find.ts'
import { giveBackJobs } from '../../src/jobs/give-back.ts'
import { heartbeatJobs } from '../../src/jobs/heartbeat.ts'
import { redriveJobs } from '../../src/jobs/redrive.ts'
import { sweep } from '../../src/jobs/sweep.ts'
import type { CallRequest } from '../../src/protocol/calls.ts'
import { newCallId } from '../../src/protocol/call-id.ts'
import { IS_FINAL, type JobState } from '../../src/protocol/job.ts'
import { embeddedSql } from '../support/plane.ts'

const RETENTION_MS = 7 * 86_400_000
const runner = { namespace: '', id: '11111111-1111-4111-8111-111111111111' }
let sql: Sql
let namespace: string
let tests = 0

beforeEach(async () => {
  sql = await embeddedSql()
  namespace = `table_${process.pid}_${tests++}`
  runner.namespace = namespace
})

function aCall(options: Partial<CallRequest> = {}): CallRequest {
  const args = new Uint8Array([1])
  return { id: newCallId(), service: 's', function: 'f', args, argsDigest: new Uint8Array(32), ...options }
}

async function claim(claimId: string = crypto.randomUUID()) {
  const services = [{ name: 's', functions: ['f'], capacity: 10 }]
  return (await claimJobs(sql, runner, { claimId, services, maxBytes: 1e6 })).jobs
}

type Time = 'lease_expires_at' | 'timeout_at' | 'deadline_at' | 'run_at' | 'finished_at'

/** Times that a job in another state does not have stay as they are. */
const age = (column: Time, id: string, by = '1 second') =>
  sql(
    `update callplane.jobs set ${column} = now() - $3::interval
    where namespace = $1 and id = $2::uuid and case
      when '${column}' in ('lease_expires_at', 'timeout_at') then state = 'running'
      when '${column}' = 'finished_at' then finished_at is not null
      else true end`,
    [namespace, id, by],
  )

async function sweepAll(): Promise<void> {
  for await (const _ of sweep(sql, { retentionMs: RETENTION_MS }));
}

const NO_TOKEN = '99999999-9999-4999-8999-999999999999'
const failure = (id: string, token: string, isRetryable = true) => ({
  id,
  token,
  error: new Uint8Array([7]),
  isRetryable,
})

/** Under which `jobIn` claims: any UUID of its own. */
const claimIdOf = (call: CallRequest) => call.id

/** Brings a new job into the state; the token is that of its current or last attempt. */
async function jobIn(
  state: JobState,
  options: Partial<CallRequest> = {},
): Promise<{ call: CallRequest; token: string }> {
  const call = aCall(options)
  await enqueueJobs(sql, namespace, [call], { retentionMs: RETENTION_MS })
  if (state === 'pending') return { call, token: NO_TOKEN }
  const [job] = await claim(claimIdOf(call))
  const token = job?.token ?? NO_TOKEN
  if (state === 'succeeded') await completeJobs(sql, namespace, [{ id: call.id, token, result: new Uint8Array([5]) }])
  if (state === 'failed') await failJobs(sql, namespace, [failure(call.id, token, false)])
  if (state === 'cancelled') await cancelJobs(sql, { namespace, services: null }, [call.id], 'no')
  return { call, token }
}

type Verb =
  | 'create again'
  | 'claim'
  | 'claim with the same id'
  | 'give back'
  | 'give back with another token'
  | 'complete'
  | 'complete with another token'
  | 'fail'
  | 'fail for good'
  | 'heartbeat'
  | 'cancel'
  | 'redrive'
  | 'lease runs out'
  | 'timeout passes'
  | 'deadline passes'
  | 'retention passes'

const VERBS: Record<Verb, (call: CallRequest, token: string) => Promise<unknown>> = {
  'create again': (call) => enqueueJobs(sql, namespace, [call], { retentionMs: RETENTION_MS }),
  claim: () => claim(),
  'claim with the same id': (call) => claim(claimIdOf(call)),
  'give back': ({ id }, token) => giveBackJobs(sql, namespace, [{ id, token }]),
  'give back with another token': ({ id }) => giveBackJobs(sql, namespace, [{ id, token: NO_TOKEN }]),
  complete: ({ id }, token) => completeJobs(sql, namespace, [{ id, token, result: new Uint8Array([6]) }]),
  'complete with another token': ({ id }) =>
    completeJobs(sql, namespace, [{ id, token: NO_TOKEN, result: new Uint8Array([6]) }]),
  fail: ({ id }, token) => failJobs(sql, namespace, [failure(id, token)]),
  'fail for good': ({ id }, token) => failJobs(sql, namespace, [failure(id, token, false)]),
  heartbeat: ({ id }, token) => heartbeatJobs(sql, namespace, [{ id, token }]),
  cancel: ({ id }) => cancelJobs(sql, { namespace, services: null }, [id], 'no'),
  redrive: ({ id }) => redriveJobs(sql, { namespace, services: null }, [id]),
  'lease runs out': async ({ id }) => {
    await age('lease_expires_at', id)
    await sweepAll()
  },
  'timeout passes': async ({ id }) => {
    await age('timeout_at', id)
    await age('lease_expires_at', id)
    await sweepAll()
  },
  'deadline passes': async ({ id }) => {
    await age('deadline_at', id)
    await sweepAll()
  },
  'retention passes': async ({ id }) => {
    await age('finished_at', id, '8 days')
    await sweepAll()
  },
}

/** Forgotten: there is no row any more. */
type End = JobState | 'gone'

const stays = (state: JobState): Record<Verb, End> => ({
  'create again': state,
  claim: state,
  'claim with the same id': state,
  'give back': state,
  'give back with another token': state,
  complete: state,
  'complete with another token': state,
  fail: state,
  'fail for good': state,
  heartbeat: state,
  cancel: state,
  redrive: state,
  'lease runs out': state,
  'timeout passes': state,
  'deadline passes': state,
  'retention passes': IS_FINAL[state] ? 'gone' : state,
})

/** A job with three attempts that retries everything: where each verb takes it from each state. */
const TABLE: Record<JobState, Record<Verb, End>> = {
  pending: {
    ...stays('pending'),
    claim: 'running',
    'claim with the same id': 'running',
    cancel: 'cancelled',
    'deadline passes': 'failed',
  },
  running: {
    ...stays('running'),
    'give back': 'pending',
    complete: 'succeeded',
    fail: 'pending',
    'fail for good': 'failed',
    cancel: 'cancelled',
    'lease runs out': 'pending',
    'timeout passes': 'pending',
    'deadline passes': 'failed',
  },
  succeeded: stays('succeeded'),
  failed: stays('failed'),
  cancelled: stays('cancelled'),
}

describe.each(Object.entries(TABLE) as [JobState, Record<Verb, End>][])('a %s job', (from, row) => {
  test.each(Object.entries(row) as [Verb, End][])('%s: %s', async (verb, to) => {
    const { call, token } = await jobIn(from, { retry: { attempts: 3, backoff: { initialMs: 0 } } })
    const before = await findJob(sql, { namespace, services: null }, call.id)
    await VERBS[verb](call, token)
    const after = await findJob(sql, { namespace, services: null }, call.id)
    expect(after?.state ?? 'gone').toBe(to)
    // What is final keeps its outcome, its end and its attempts, to the byte.
    // Who runs it anew is not part of it.
    const heir = verb === 'redrive' ? { redrivenAs: after?.redrivenAs } : {}
    if (IS_FINAL[from] && to !== 'gone') expect(after).toEqual({ ...before, ...heir })
  })
})

test('a stall is retried without a policy; a throw and a timeout are not', async () => {
  const one = await jobIn('running')
  await VERBS['lease runs out'](one.call, one.token)
  expect((await findJob(sql, runnerReach(), one.call.id))?.state).toBe('pending')

  const two = await jobIn('running', { id: newCallId(), timeoutMs: 60_000 })
  await VERBS['timeout passes'](two.call, two.token)
  expect(await findJob(sql, runnerReach(), two.call.id)).toMatchObject({ state: 'failed', failure: 'timed_out' })
})

test('jobs that go silent together come back at once, and from the second time on one by one', async () => {
  const ids: string[] = []
  for (let made = 0; made < 8; made++) ids.push((await jobIn('running', { id: newCallId() })).call.id)
  const wentSilent = async () => {
    for (const id of ids) await age('lease_expires_at', id, '1 hour')
    await sweepAll()
    const rows = await sql<{ in_ms: number }>(
      `select (extract(epoch from run_at - now()) * 1000)::float8 as in_ms from callplane.jobs
      where namespace = $1 and state = 'pending' and id = any($2::uuid[])`,
      [runner.namespace, ids],
    )
    return rows.map((row) => row.in_ms)
  }
  expect((await wentSilent()).filter((inMs) => inMs <= 0)).toHaveLength(8)
  const again = await claim()
  expect(again.map((job) => job.id).toSorted()).toEqual(ids.toSorted())

  const [first = 0, ...others] = (await wentSilent()).toSorted((a, b) => a - b)
  expect(others.map((inMs) => Math.round(inMs - first))).toEqual([250, 500, 750, 1_000, 1_250, 1_500, 1_750])
})

test('a stall of the last attempt fails the job, with a reason for a person', async () => {
  const { call } = await jobIn('pending', { retry: { attempts: 2, on: ['stall'] } })
  for (let attempt = 0; attempt < 2; attempt++) {
    const [job] = await claim()
    await VERBS['lease runs out'](call, job?.token ?? '')
  }
  const job = await findJob(sql, runnerReach(), call.id)
  expect(job).toMatchObject({ state: 'failed', failure: 'stalled', attempt: 2 })
  expect(job?.outcome).toMatchObject({ message: expect.stringMatching(/went silent.*2 of 2 attempts/) })
  expect(job?.attempts.map(({ outcome }) => outcome)).toEqual(['stalled', 'stalled'])
})

test('a policy that leaves out stalls fails at the first', async () => {
  const { call, token } = await jobIn('running', { retry: { on: ['throw'] } })
  await VERBS['lease runs out'](call, token)
  expect((await findJob(sql, runnerReach(), call.id))?.failure).toBe('stalled')
})

test.each([1, 2, 3, 4, 5])(
  'a call that always throws with %i attempts is claimed exactly so often',
  async (attempts) => {
    const { call } = await jobIn('pending', { retry: { attempts, backoff: { initialMs: 0 } } })
    let claims = 0
    for (let round = 0; round < 8; round++) {
      const [job] = await claim()
      if (job === undefined) continue
      claims++
      await failJobs(sql, namespace, [failure(job.id, job.token)])
    }
    expect(claims).toBe(attempts)
    expect(await findJob(sql, runnerReach(), call.id)).toMatchObject({
      state: 'failed',
      failure: 'threw',
      attempt: attempts,
    })
  },
)

test('a backoff waits: never before, never longer than the policy says', async () => {
  const backoff = { initialMs: 60_000, factor: 2, maxMs: 100_000, jitter: 'none' as const }
  const { call } = await jobIn('pending', { retry: { attempts: 4, backoff } })
  const waits: number[] = []
  for (let attempt = 0; attempt < 3; attempt++) {
    const [job] = await claim()
    await failJobs(sql, namespace, [failure(call.id, job?.token ?? '')])
    expect(await claim()).toEqual([])
    const [row] = await sql<{ ms: number }>(
      `select (extract(epoch from run_at - now()) * 1000)::int8 as ms from callplane.jobs where namespace = $1`,
      [namespace],
    )
    waits.push(row?.ms ?? 0)
    await age('run_at', call.id)
  }
  expect(waits.map((ms) => Math.round(ms / 2_000) * 2_000)).toEqual([60_000, 100_000, 100_000])
})

test('the same report again gets the same answer; one of an old attempt gets lease_lost', async () => {
  const { call, token } = await jobIn('running')
  const report = { id: call.id, token, result: new Uint8Array([5]) }
  expect(await completeJobs(sql, namespace, [report])).toEqual([{ id: call.id, state: 'succeeded', isFirst: true }])
  expect(await completeJobs(sql, namespace, [report])).toEqual([{ id: call.id, state: 'succeeded', isFirst: false }])

  const stalled = await jobIn('running', { id: newCallId() })
  await VERBS['lease runs out'](stalled.call, stalled.token)
  const [again] = await claim()
  expect(again?.token).not.toBe(stalled.token)
  expect(again).toMatchObject({ id: stalled.call.id, attempt: 2, fence: 2 })
  const [late] = await completeJobs(sql, namespace, [
    { id: stalled.call.id, token: stalled.token, result: report.result },
  ])
  expect(late).toMatchObject({ error: { code: 'lease_lost' } })
})

test('a claim repeated with its id gets what it holds, and counts no attempt', async () => {
  await jobIn('pending')
  const claimId = crypto.randomUUID()
  const first = await claim(claimId)
  await jobIn('pending', { id: newCallId() })
  const again = await claim(claimId)
  expect(again.map(({ leaseMs: _, ...job }) => job)).toEqual(first.map(({ leaseMs: _, ...job }) => job))
  expect(await claim()).toHaveLength(1)
})

test('an attempt that nobody heard of is not counted, its fence is', async () => {
  const { call, token } = await jobIn('running', { retry: { attempts: 1 } })
  expect(await giveBackJobs(sql, namespace, [{ id: call.id, token }])).toEqual([{ id: call.id, service: 's' }])
  const [again] = await claim()
  expect(again).toMatchObject({ id: call.id, attempt: 1, fence: 2 })
  expect(again?.token).not.toBe(token)
  const [late] = await completeJobs(sql, namespace, [{ id: call.id, token, result: new Uint8Array([5]) }])
  expect(late).toMatchObject({ error: { code: 'lease_lost' } })
  const job = await findJob(sql, runnerReach(), call.id)
  expect(job?.attempts).toMatchObject([{ attempt: 1, fence: 2, outcome: null }])
})

test('a job is given back twice at most: after that its silence counts', async () => {
  const { call, token } = await jobIn('running', { retry: { attempts: 1 } })
  const tokens = [token]
  for (let times = 0; times < 2; times++) {
    expect(await giveBackJobs(sql, namespace, [{ id: call.id, token: tokens.at(-1) ?? '' }])).toHaveLength(1)
    const [again] = await claim()
    tokens.push(again?.token ?? '')
  }
  expect(await giveBackJobs(sql, namespace, [{ id: call.id, token: tokens.at(-1) ?? '' }])).toEqual([])
  await VERBS['lease runs out'](call, '')
  expect(await findJob(sql, runnerReach(), call.id)).toMatchObject({ state: 'failed', failure: 'stalled', attempt: 1 })
})

test('what was delivered again is not given back: its second answer may have arrived', async () => {
  const { call, token } = await jobIn('running')
  expect(await claim(claimIdOf(call))).toMatchObject([{ token }])
  expect(await giveBackJobs(sql, namespace, [{ id: call.id, token }])).toEqual([])
  // The next attempt starts over.
  await VERBS['lease runs out'](call, token)
  const [next] = await claim()
  expect(await giveBackJobs(sql, namespace, [{ id: call.id, token: next?.token ?? '' }])).toHaveLength(1)
})

test('a job delivered again has its first lease anew, within the time of its attempt', async () => {
  const { call } = await jobIn('running', { timeoutMs: 60_000 })
  await sql(`update callplane.jobs set lease_expires_at = now() + interval '2 seconds' where namespace = $1`, [
    namespace,
  ])
  const [again] = await claim(claimIdOf(call))
  expect(again?.leaseMs).toBeGreaterThan(14_000)
  await sql(`update callplane.jobs set timeout_at = now() + interval '5 seconds' where namespace = $1`, [namespace])
  await sql(`update callplane.jobs set lease_expires_at = timeout_at where namespace = $1`, [namespace])
  const [last] = await claim(claimIdOf(call))
  expect(last?.leaseMs).toBeLessThanOrEqual(5_000)
})

test('jobs go with their attempts when their time is over, and no others', async () => {
  const old = await jobIn('succeeded')
  const young = await jobIn('failed', { id: newCallId() })
  const open = await jobIn('pending', { id: newCallId() })
  await age('finished_at', old.call.id, '7 days 1 second')
  await age('finished_at', young.call.id, '6 days 23 hours')
  await sweepAll()
  const left = await sql(`select id::text from callplane.jobs where namespace = $1`, [namespace])
  expect(new Set(left.map(({ id }) => id))).toEqual(new Set([young.call.id, open.call.id]))
  const attempts = await sql(`select job_id::text as id from callplane.attempts where namespace = $1`, [namespace])
  expect(attempts).toEqual([{ id: young.call.id }])
})

test('the events of a job stay an hour longer than the job, for who watches', async () => {
  const { call } = await jobIn('succeeded')
  const states = async () => {
    const rows = await sql(`select from_state, to_state from callplane.events where subject_id = $1`, [call.id])
    return rows.map(({ from_state, to_state }) => `${String(from_state)} ${String(to_state)}`).toSorted()
  }
  await age('finished_at', call.id, '8 days')
  await sweepAll()
  const all = ['null pending', 'pending running', 'running succeeded', 'succeeded null']
  expect(await states()).toEqual(all)
  await sql(`update callplane.events set at = at - interval '59 minutes' where subject_id = $1`, [call.id])
  await sweepAll()
  expect(await states()).toEqual(all)
  await sql(`update callplane.events set at = at - interval '2 minutes' where subject_id = $1`, [call.id])
  await sweepAll()
  expect(await states()).toEqual([])
})

test('a sweep says when the next is wanted', async () => {
  await sql('delete from callplane.jobs')
  await sql('delete from callplane.events')
  const next = async () => {
    const turn = sweep(sql, { retentionMs: RETENTION_MS })
    for (;;) {
      const { done, value } = await turn.next()
      if (done === true) return value
    }
  }
  expect(await next()).toBeNull()
  const ended = await jobIn('succeeded')
  expect(await next()).toBeGreaterThan(RETENTION_MS - 60_000)
  await jobIn('pending', { id: newCallId(), deadlineMs: 3_600_000, delayMs: 3_600_000 })
  const deadline = await next()
  expect(deadline).toBeGreaterThan(3_540_000)
  expect(deadline).toBeLessThanOrEqual(3_600_000)
  const running = await jobIn('running', { id: newCallId(), priority: 9 })
  const lease = await next()
  expect(lease).toBeGreaterThan(10_000)
  expect(lease).toBeLessThanOrEqual(15_000)
  // What was overdue is done when the sweep returns: it names what comes after.
  await age('lease_expires_at', running.call.id)
  await age('finished_at', ended.call.id, '8 days')
  expect(await next()).toBeGreaterThan(3_500_000)
  expect((await findJob(sql, runnerReach(), running.call.id))?.state).toBe('pending')
  expect(await findJob(sql, runnerReach(), ended.call.id)).toBeNull()
})

test('a claim goes by priority, then time; takes what fits, and the first job whatever its size', async () => {
  const low = aCall({ args: new Uint8Array(900) })
  const high = aCall({ priority: 5, args: new Uint8Array(2_000) })
  const later = aCall({ args: new Uint8Array(900), delayMs: 3_600_000 })
  await enqueueJobs(sql, namespace, [low, later, high], { retentionMs: RETENTION_MS })
  const services = [{ name: 's', functions: ['f'], capacity: 10 }]
  const small = async () =>
    (await claimJobs(sql, runner, { claimId: crypto.randomUUID(), services, maxBytes: 1_000 })).jobs
  expect((await small()).map(({ id }) => id)).toEqual([high.id])
  expect((await small()).map(({ id }) => id)).toEqual([low.id])
  expect(await small()).toEqual([])
})

test('a claim takes no more of a service than it has capacity for, and only functions that it names', async () => {
  const calls = [
    ...[0, 1, 2].map(() => aCall({ service: 'a' })),
    ...[0, 1, 2].map(() => aCall({ service: 'b' })),
    aCall({ service: 'a', function: 'other' }),
  ]
  await enqueueJobs(sql, namespace, calls, { retentionMs: RETENTION_MS })
  const { jobs, leftOver } = await claimJobs(sql, runner, {
    claimId: crypto.randomUUID(),
    services: [
      { name: 'a', functions: ['f'], capacity: 5 },
      { name: 'b', functions: ['f'], capacity: 2 },
    ],
    maxBytes: 1e6,
  })
  expect(jobs.map(({ service }) => service).toSorted()).toEqual(['a', 'a', 'a', 'b', 'b'])
  expect(jobs.every((job) => job.function === 'f')).toBe(true)
  expect(leftOver).toEqual(['b'])
})

test('a claim of one takes the first of the queue', async () => {
  const calls = [aCall(), aCall({ priority: -3 }), aCall({ priority: 7 }), aCall({ priority: 2 })]
  await enqueueJobs(sql, namespace, calls, { retentionMs: RETENTION_MS })
  const services = [{ name: 's', functions: ['f'], capacity: 1 }]
  const taken: string[] = []
  for (const _ of calls) {
    const { jobs } = await claimJobs(sql, runner, { claimId: crypto.randomUUID(), services, maxBytes: 1e6 })
    taken.push(...jobs.map(({ id }) => id))
  }
  expect(taken).toEqual([calls[2], calls[3], calls[0], calls[1]].map((call) => call?.id))
})

test('a service with a long queue does not take the place of another in the same claim', async () => {
  const long = Array.from({ length: 20 }, () => aCall({ service: 'long', priority: 9, args: new Uint8Array(500) }))
  const short = Array.from({ length: 9 }, () => aCall({ service: 'short', args: new Uint8Array(10) }))
  await enqueueJobs(sql, namespace, [...long, ...short], { retentionMs: RETENTION_MS })
  const services = [
    { name: 'long', functions: ['f'], capacity: 1 },
    { name: 'short', functions: ['f'], capacity: 9 },
  ]
  const { jobs, leftOver } = await claimJobs(sql, runner, { claimId: crypto.randomUUID(), services, maxBytes: 1_000 })
  expect(Map.groupBy(jobs, (job) => job.service).get('short')).toHaveLength(9)
  expect(jobs).toHaveLength(10)
  expect(leftOver).toEqual(['long'])
})

test('what is thrown after the time of an attempt is its timeout, by the policy for timeouts', async () => {
  const retry = { attempts: 2, on: ['timeout'], backoff: { initialMs: 0 } }
  const { call, token } = await jobIn('running', { timeoutMs: 60_000, retry })
  await age('timeout_at', call.id)
  // The runner saw its signal abort, and found no policy that covers the error.
  const [first] = await failJobs(sql, namespace, [failure(call.id, token, false)])
  expect(first).toMatchObject({ state: 'pending' })
  const [again] = await claim()
  await age('timeout_at', call.id)
  const [last] = await failJobs(sql, namespace, [failure(call.id, again?.token ?? '', true)])
  expect(last).toMatchObject({ state: 'failed', isTimedOut: true })
  const job = await findJob(sql, runnerReach(), call.id)
  expect(job).toMatchObject({ failure: 'timed_out', outcome: { ended: 'timed_out' } })
  expect(job?.attempts.map(({ outcome }) => outcome)).toEqual(['timed_out', 'timed_out'])
})

test('a heartbeat after the time of an attempt does not renew it', async () => {
  const { call, token } = await jobIn('running', { timeoutMs: 60_000 })
  expect(await heartbeatJobs(sql, namespace, [{ id: call.id, token }])).toEqual([null])
  await age('timeout_at', call.id)
  expect(await heartbeatJobs(sql, namespace, [{ id: call.id, token }])).toMatchObject([{ code: 'lease_lost' }])
})

test('outcomes come in answers of a bounded size, the first whatever its size', async () => {
  const calls = [aCall(), aCall(), aCall()]
  await enqueueJobs(sql, namespace, calls, { retentionMs: RETENTION_MS })
  const jobs = await claim()
  const reports = jobs.map(({ id, token }) => ({ id, token, result: new Uint8Array(600) }))
  await completeJobs(sql, namespace, reports.slice(0, 2))
  const ids = calls.map(({ id }) => id)
  const look = (maxBytes: number, of = ids) => findOutcomes(sql, runnerReach(), of, { maxBytes })
  const ended = (found: Map<string, unknown>) => [...found.values()].filter((outcome) => outcome !== null).length
  const small = await look(100)
  expect([ended(small.found), small.isCut, small.found.size]).toEqual([1, true, 3])
  const large = await look(10_000)
  expect([ended(large.found), large.isCut]).toEqual([2, false])
})

test('a call copies the policy of its function, and its own options go before it', async () => {
  await sql(`insert into callplane.functions (namespace, service, name, policy) values ($1, 's', 'f', $2::jsonb)`, [
    namespace,
    JSON.stringify({ timeoutMs: 9_000, priority: 3, retry: { attempts: 7, on: ['throw'] } }),
  ])
  await jobIn('pending')
  await jobIn('pending', { id: newCallId(), priority: 1, timeoutMs: 5_000 })
  const rows = await sql(
    `select priority, timeout_ms, max_attempts from callplane.jobs where namespace = $1 order by priority desc`,
    [namespace],
  )
  expect(rows).toEqual([
    { priority: 3, timeout_ms: 9_000, max_attempts: 7 },
    { priority: 1, timeout_ms: 5_000, max_attempts: 7 },
  ])
})

test('an id that is used for another call is refused; one out of its time too', async () => {
  const { call } = await jobIn('pending')
  const other = { ...call, argsDigest: new Uint8Array(32).fill(1) }
  const old = aCall({ id: newCallId(Date.now() - 4 * 86_400_000) })
  const early = aCall({ id: newCallId(Date.now() + 2 * 86_400_000) })
  const answers = await enqueueJobs(sql, namespace, [other, old, early], { retentionMs: RETENTION_MS })
  expect(answers).toMatchObject([
    { error: { code: 'call_id_conflict' } },
    { error: { code: 'call_id_expired' } },
    { error: { code: 'call_id_expired' } },
  ])
  expect(await VERBS['create again'](call, '')).toMatchObject([{ id: call.id, isNew: false }])
})

test('no verb reaches into another namespace', async () => {
  const { call, token } = await jobIn('running')
  const elsewhere = `${namespace}_other`
  expect(await findJob(sql, { namespace: elsewhere, services: null }, call.id)).toBeNull()
  expect(await cancelJobs(sql, { namespace: elsewhere, services: null }, [call.id], 'no')).toMatchObject([
    { state: null },
  ])
  const report = { id: call.id, token, result: new Uint8Array() }
  expect(await completeJobs(sql, elsewhere, [report])).toMatchObject([{ error: { code: 'lease_lost' } }])
  expect(await heartbeatJobs(sql, elsewhere, [report])).toMatchObject([{ code: 'lease_lost' }])
  expect(await failJobs(sql, elsewhere, [failure(call.id, token)])).toMatchObject([{ error: { code: 'lease_lost' } }])
  expect((await findJob(sql, runnerReach(), call.id))?.state).toBe('running')
  const created = await enqueueJobs(sql, elsewhere, [call], { retentionMs: RETENTION_MS })
  expect(created).toMatchObject([{ id: call.id, isNew: true }])
})

function runnerReach() {
  return { namespace, services: null }
}
