// Calls that are made while a poll waits for such: inserted as claimed, and answered to that poll.
import { expect, onTestFinished, test, vi } from 'vitest'
import { SqlError, type Row, type Sql, type SqlParam } from '../../src/db/sql.ts'
import { enqueueJobs } from '../../src/jobs/enqueue.ts'
import { findJob } from '../../src/jobs/find.ts'
import { encodeBody } from '../../src/protocol/wire.ts'
import { embeddedSql, setup, type TestPlane } from '../support/plane.ts'
import { aCall, create, pollOnce, post, succeeded, type PollOptions, type PollReply } from '../support/wire.ts'

const INSERT = 'insert into callplane.jobs'
const CLAIM = 'with asked as'

type Around = (run: () => Promise<Row[]>, text: string) => Promise<Row[]>

/** A plane as a process runs it; `around` stands between it and the database. */
async function gathering(around: Around = (run) => run()) {
  const real = await embeddedSql()
  const sql: Sql = async <R extends Row>(text: string, params?: readonly SqlParam[]) =>
    (await around(() => real(text, params), text)) as R[] // what the statement itself answers
  const plane = await setup({ sql, gather: setImmediate })
  const { handover } = plane.app.plane
  if (handover === null) throw new Error('a process hands over')
  const open = vi.spyOn(handover, 'open')
  /** Begins something that polls, and resolves once that poll has looked and waits. */
  async function untilItWaits<T>(begin: () => Promise<T>): Promise<{ answer: Promise<T> }> {
    const before = open.mock.calls.length
    const answer = begin()
    answer.catch(() => {}) // the test awaits it later
    await expect.poll(() => open.mock.calls.length, { interval: 5 }).toBe(before + 1)
    plane.statements()
    return { answer }
  }
  const waiting = (options: PollOptions = {}): Promise<{ answer: Promise<PollReply> }> =>
    untilItWaits(() => pollOnce(plane, { waitMs: 20_000, ...options }))
  return { plane, waiting, untilItWaits, settled: vi.spyOn(handover, 'settled') }
}

const count = (statements: string[], part: string) => statements.filter((text) => text.includes(part)).length
const jobOf = ({ sql, namespace }: TestPlane, id: string) => findJob(sql, { namespace, services: null }, id)

test('a call that a poll waits for costs two statements, and ends as any other', async () => {
  const { plane, waiting } = await gathering()
  const functions = [{ name: 'hello', policy: { timeoutMs: 60_000, leaseMs: 5_000, retry: { attempts: 4 } } }]
  const runner = crypto.randomUUID()
  await post(plane, '/v1/runners/register', { runner, services: [{ name: 'greeter', slots: 1, functions }] })
  const { answer } = await waiting({ runner })
  const call = await aCall()
  const created = create(plane, [call], 20_000)
  const [job] = (await answer).jobs
  if (job === undefined) throw new Error('no job came')
  expect(job).toMatchObject({
    id: call.id,
    args: call.args,
    attempt: 1,
    maxAttempts: 4,
    fence: 1,
    retryOn: ['stall', 'throw', 'timeout'],
  })
  expect(job.leaseMs).toBeGreaterThan(4_000)
  expect(job.leaseMs).toBeLessThanOrEqual(5_000)
  expect(job.timeoutMs).toBeGreaterThan(59_000)
  expect(await jobOf(plane, call.id)).toMatchObject({ state: 'running', attempt: 1, attempts: [{ fence: 1, runner }] })
  plane.statements()
  await pollOnce(plane, { runner, capacity: 0, reports: [succeeded(job, 'hi')] })
  expect(await created).toMatchObject([{}, { id: call.id, outcome: { ended: 'succeeded' } }, { isComplete: true }])
  expect(plane.statements()).toHaveLength(1)
})

test('no claim is asked of the database', async () => {
  const { plane, waiting } = await gathering()
  const { answer } = await waiting()
  await create(plane, [await aCall()])
  await answer
  const statements = plane.statements()
  expect([count(statements, INSERT), count(statements, CLAIM)]).toEqual([1, 0])
})

test('a poll gets no more than it has slots for; the rest waits for the next', async () => {
  const { plane, waiting } = await gathering()
  const { answer } = await waiting({ capacity: 2 })
  const calls = [await aCall(), await aCall(), await aCall()]
  await create(plane, calls)
  const first = (await answer).jobs.map(({ id }) => id)
  expect(first).toHaveLength(2)
  const second = (await pollOnce(plane)).jobs.map(({ id }) => id)
  expect([...first, ...second].toSorted()).toEqual(calls.map(({ id }) => id).toSorted())
})

test('calls are spread over the polls that wait', async () => {
  const { plane, waiting } = await gathering()
  const polls = [await waiting(), await waiting({ runner: crypto.randomUUID() })]
  await create(plane, [await aCall(), await aCall(), await aCall(), await aCall()])
  const answers = await Promise.all(polls.map(({ answer }) => answer))
  expect(answers.map(({ jobs }) => jobs.length)).toEqual([2, 2])
})

test('what is delayed, or of another function, is not handed over', async () => {
  const { plane, waiting } = await gathering()
  const { answer } = await waiting()
  const others = [
    await aCall({ delayMs: 60_000 }),
    await aCall({ function: 'other' }),
    await aCall({ service: 'other' }),
  ]
  await create(plane, others)
  for (const { id } of others) expect(await jobOf(plane, id)).toMatchObject({ state: 'pending' })
  const call = await aCall()
  await create(plane, [call])
  expect((await answer).jobs).toMatchObject([{ id: call.id }])
})

test('a call that is a job already is not handed over again, and its poll waits on', async () => {
  const { plane, waiting, untilItWaits } = await gathering()
  const [known, fresh] = [await aCall(), await aCall()]
  await create(plane, [known])
  const { jobs } = await pollOnce(plane)
  expect(jobs).toMatchObject([{ id: known.id }])
  const { answer } = await waiting()
  await untilItWaits(() => create(plane, [known]))
  await create(plane, [fresh])
  expect((await answer).jobs).toMatchObject([{ id: fresh.id }])
})

test('what another statement inserts meanwhile is not handed to the same poll, whose answer may leave before', async () => {
  const goOn = Promise.withResolvers<void>()
  let inserts = 0
  const { plane, waiting } = await gathering(async (run, text) => {
    if (text.includes(INSERT) && inserts++ === 0) await goOn.promise
    return run()
  })
  const { answer } = await waiting()
  const [first, second] = [await aCall(), await aCall()]
  const created = create(plane, [first])
  await expect.poll(() => inserts).toBe(1)
  await create(plane, [second])
  goOn.resolve()
  await created
  expect((await answer).jobs).toMatchObject([{ id: first.id }])
  expect((await pollOnce(plane)).jobs).toMatchObject([{ id: second.id }])
})

test('a poll that is rung for something else while it is handed a call leaves that to the next in line, at once', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  const other = await aCall({ service: 'other' })
  const { plane, untilItWaits } = await gathering(async (run, text) => {
    const rows = await run()
    // As by another process: its job has committed, and its ring arrives before the poll has what it was handed.
    if (text.includes(INSERT)) {
      const { namespace } = plane
      await enqueueJobs(await embeddedSql(), namespace, [other], { retentionMs: 86_400_000 })
      await plane.app.plane.bell.ring({ namespace, due: [{ service: 'other', jobs: 1 }] })
    }
    return rows
  })
  const waitFor = (...names: string[]) => {
    const services = names.map((name) => ({ name, functions: ['hello'], capacity: 1 }))
    const claim = { id: crypto.randomUUID(), waitMs: 20_000, services }
    return untilItWaits(() => post(plane, '/v1/runners/poll', { runner: crypto.randomUUID(), claim }))
  }
  const first = await waitFor('greeter', 'other')
  const second = await waitFor('other')
  const call = await aCall()
  await create(plane, [call])
  expect((await first.answer).body).toMatchObject({ jobs: [{ id: call.id }] })
  expect((await second.answer).body).toMatchObject({ jobs: [{ id: other.id }] })
})

test('a runner that went meanwhile loses nothing: the job goes to another at once, and no attempt is counted', async () => {
  const gone = new AbortController()
  const { plane, untilItWaits } = await gathering(async (run, text) => {
    const rows = await run()
    // Committed as claimed; the answer to the poll has not left.
    if (text.includes(INSERT)) gone.abort()
    return rows
  })
  const services = [{ name: 'greeter', functions: ['hello'], capacity: 1 }]
  const { answer } = await untilItWaits(async () =>
    plane.app.request('/v1/runners/poll', {
      method: 'POST',
      headers: { authorization: `Bearer ${plane.key}`, 'content-type': 'application/msgpack' },
      body: encodeBody({ runner: crypto.randomUUID(), claim: { id: crypto.randomUUID(), waitMs: 20_000, services } }),
      signal: gone.signal,
    }),
  )
  const call = await aCall({ retry: { attempts: 1 } })
  await create(plane, [call])
  await answer
  expect((await pollOnce(plane, { waitMs: 20_000 })).jobs).toMatchObject([{ id: call.id, attempt: 1, fence: 2 }])
})

test('an answer that was lost is given again to the same claim', async () => {
  const { plane, waiting } = await gathering()
  const claimId = crypto.randomUUID()
  const { answer } = await waiting({ claimId })
  const call = await aCall()
  await create(plane, [call])
  const [job] = (await answer).jobs
  expect((await pollOnce(plane, { claimId })).jobs).toMatchObject([{ id: call.id, token: job?.token, attempt: 1 }])
})

test('a poll that takes the place of one whose job is being inserted gets it too', async () => {
  const inserting = Promise.withResolvers<void>()
  const goOn = Promise.withResolvers<void>()
  const { plane, waiting, settled } = await gathering(async (run, text) => {
    if (text.includes(INSERT)) {
      inserting.resolve()
      await goOn.promise
    }
    return run()
  })
  const claimId = crypto.randomUUID()
  const { answer } = await waiting({ claimId })
  const call = await aCall()
  const created = create(plane, [call])
  await inserting.promise
  const again = pollOnce(plane, { claimId, waitMs: 20_000 })
  await expect.poll(() => settled.mock.calls.length).toBe(2)
  await jobOf(plane, call.id)
  expect(count(plane.statements(), CLAIM)).toBe(0) // it has joined, and does not look before what comes is there
  goOn.resolve()
  await created
  const [first, second] = await Promise.all([answer, again])
  expect(first.jobs).toMatchObject([{ id: call.id }])
  expect(second.jobs).toMatchObject([{ id: call.id, token: first.jobs[0]?.token }])
})

test('where nobody knows whether the insert has committed, the poll looks, and finds what it holds', async () => {
  const { plane, waiting } = await gathering(async (run, text) => {
    const rows = await run()
    if (text.includes(INSERT)) throw new SqlError('the answer was lost', null)
    return rows
  })
  const { answer } = await waiting()
  const call = await aCall()
  const { status } = await post(plane, '/v1/calls', { calls: [call] })
  expect(status).toBe(503)
  expect((await answer).jobs).toMatchObject([{ id: call.id, attempt: 1, fence: 1 }])
})
