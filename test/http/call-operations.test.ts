// Lists and redrives over the wire: who may, what they see, and what a loop of requests does.
import { expect, test } from 'vitest'
import { inProcessBell } from '../../src/bell/in-process.ts'
import type { listCallsAnswer } from '../../src/protocol/list-calls.ts'
import type { redriveCallsAnswer } from '../../src/protocol/redrive-calls.ts'
import { newCallId } from '../../src/protocol/call-id.ts'
import type { TypeOf } from '../../src/protocol/shape.ts'
import { setup, type TestPlane } from '../support/plane.ts'
import { aCall, create, pollOnce, post, succeeded, threw } from '../support/wire.ts'

type List = TypeOf<typeof listCallsAnswer>
type Redrive = TypeOf<typeof redriveCallsAnswer>

async function list(plane: TestPlane, query = '', key = plane.key): Promise<{ status: number; body: List }> {
  const response = await plane.app.request(`/v1/calls${query}`, { headers: { authorization: `Bearer ${key}` } })
  return { status: response.status, body: (await response.json()) as List } // a test reads what it expects
}

async function redrive(plane: TestPlane, body: object, key = plane.key): Promise<{ status: number; body: Redrive }> {
  const answer = await post(plane, '/v1/calls/redrive', body, key)
  return { status: answer.status, body: answer.body as Redrive } // a test reads what it expects
}

/** So many calls of the service that have thrown, the oldest first. */
async function failed(plane: TestPlane, service: string, count = 1): Promise<string[]> {
  const calls = await Promise.all(Array.from({ length: count }, () => aCall({ service })))
  await create(plane, calls)
  const { jobs } = await pollOnce(plane, { service, capacity: 1_000 })
  await pollOnce(plane, { capacity: 0, reports: jobs.map((job) => threw(job, new Error('no'), false)) })
  return calls.map(({ id }) => id)
}

/** All steps of a redrive by filter. */
async function redriveAll(plane: TestPlane, filter: object, key = plane.key): Promise<Redrive['calls']> {
  const calls: Redrive['calls'] = []
  for (let cursor: { cursor?: string } | null = {}; cursor !== null;) {
    const { status, body } = await redrive(plane, { filter, ...cursor }, key)
    expect(status).toBe(200)
    calls.push(...body.calls)
    cursor = body.next === undefined ? null : { cursor: body.next }
  }
  return calls
}

test('a list is the calls of the namespace, without their payloads, page by page', async () => {
  const [plane, other] = [await setup(), await setup()]
  await create(other, [await aCall()])
  const [id = ''] = await failed(plane, 'greeter')
  const pending = await aCall({ delayMs: 60_000 })
  await create(plane, [pending])
  const first = await list(plane, '?limit=1')
  expect(first).toMatchObject({
    status: 200,
    body: { calls: [{ id: pending.id, state: 'pending' }], next: pending.id },
  })
  expect(first.body.calls[0]?.runAt).toMatch(/^\d{4}-.*Z$/)
  const second = await list(plane, `?limit=2&cursor=${first.body.next}`)
  expect(second.body).toEqual({
    calls: [
      {
        id,
        service: 'greeter',
        function: 'hello',
        state: 'failed',
        failure: 'threw',
        attempt: 1,
        maxAttempts: 3,
        createdAt: expect.stringMatching(/Z$/),
        startedAt: expect.stringMatching(/Z$/),
        finishedAt: expect.stringMatching(/Z$/),
        runner: '11111111-1111-4111-8111-111111111111',
      },
    ],
  })
  expect((await list(plane, '?state=failed,cancelled&service=greeter&function=hello&newerThanMs=60000')).body).toEqual(
    second.body,
  )
  expect((await list(plane, '?failure=expired')).body).toEqual({ calls: [] })
})

test.each([
  ['?stat=failed', /query\.stat is not a field/],
  ['?state=failed,gone', /query\.state\[1\] must be one of pending, running/],
  ['?limit=201', /query\.limit must be a whole number from 1 to 200/],
  ['?limit=ten', /query\.limit must be a whole number/],
  ['?newerThanMs=-1', /query\.newerThanMs must be a whole number/],
  ['?cursor=1', /query\.cursor must be a UUID/],
  ['?service=a%20b', /cannot name a service/],
])('a list with %s is refused', async (query, message) => {
  expect(await list(await setup(), query)).toMatchObject({
    status: 400,
    body: { error: { message: expect.stringMatching(message) } },
  })
})

test('a redriven call runs anew, wakes a runner that waits, and both tell of each other', async () => {
  const plane = await setup()
  const [id = ''] = await failed(plane, 'greeter')
  plane.statements()
  const poll = pollOnce(plane, { waitMs: 20_000 })
  await expect.poll(() => plane.statements().some((text) => text.includes('for update skip locked'))).toBe(true)
  const rungAtMs = performance.now()
  const { body } = await redrive(plane, { ids: [id] })
  const heir = body.calls[0]?.redrivenAs
  expect(body.calls).toEqual([{ id, redrivenAs: heir, isNew: true }])
  const { jobs } = await poll
  // Without a ring it would look once more at the end of its wait.
  expect(performance.now() - rungAtMs).toBeLessThan(10_000)
  expect(jobs).toMatchObject([{ id: heir, attempt: 1, fence: 2 }])
  await pollOnce(plane, { capacity: 0, reports: jobs.map((job) => succeeded(job, 'hello')) })
  expect((await redrive(plane, { ids: [id] })).body.calls).toEqual([{ id, redrivenAs: heir, isNew: false }])
  const status = async (of: string) =>
    (await plane.app.request(`/v1/calls/${of}`, { headers: { authorization: `Bearer ${plane.key}` } })).json()
  expect(await status(id)).toMatchObject({ state: 'failed', redrivenAs: heir })
  expect(await status(id)).not.toHaveProperty('origin')
  expect(await status(heir ?? '')).toMatchObject({ state: 'succeeded', result: 'hello', redrivenFrom: id, origin: id })
  expect((await list(plane, '?state=failed')).body.calls).toMatchObject([{ id, redrivenAs: heir }])
  const metrics = await plane.app.request('/metrics', { headers: { authorization: `Bearer ${plane.key}` } })
  expect(await metrics.text()).toMatch(/^callplane_calls_created_total 2$/m)
})

test('a call with a deadline sets the alarm for it, and sets it again when it is redriven', async () => {
  const alarms: number[] = []
  const bell = inProcessBell({ lookEveryMs: Number.POSITIVE_INFINITY })
  const plane = await setup({ bell: { ...bell, alarm: async (inMs) => void alarms.push(inMs) } })
  const call = await aCall({ deadlineMs: 3_600_000 })
  await create(plane, [call])
  await post(plane, '/v1/calls/cancel', { ids: [call.id] })
  await redrive(plane, { ids: [call.id] })
  expect(alarms.map((ms) => Math.round(ms / 60_000))).toEqual([60, 60])
})

test('one bad id does not hold back the others', async () => {
  const plane = await setup()
  const [done = ''] = await failed(plane, 'greeter')
  const waiting = await aCall()
  await create(plane, [waiting])
  const unknown = newCallId()
  const { status, body } = await redrive(plane, { ids: [waiting.id, unknown, done] })
  expect([status, body.calls]).toMatchObject([
    200,
    [
      { id: waiting.id, error: { code: 'call_not_ended' } },
      { id: unknown, error: { code: 'not_found' } },
      { id: done, isNew: true },
    ],
  ])
})

test.each<[string, object, RegExp]>([
  ['nothing', {}, /either ids or a filter/],
  ['ids and a filter', { ids: [newCallId()], filter: {} }, /either ids or a filter/],
  [
    'ids and a cursor',
    { ids: [newCallId()], cursor: '1.00000000-0000-0000-0000-000000000000' },
    /a cursor goes with a filter/,
  ],
  ['a cursor of nobody', { filter: {}, cursor: 'x' }, /the cursor is none/],
  ['an unknown field', { filter: { states: ['failed'] } }, /filter\.states is not a field/],
  ['no ids', { ids: [] }, /must hold 1 to 500/],
  ['too many ids', { ids: Array.from({ length: 501 }, () => newCallId()) }, /must hold 1 to 500/],
])('a redrive of %s is refused', async (_, body, message) => {
  expect(await redrive(await setup(), body)).toMatchObject({
    status: 400,
    body: { error: { code: 'invalid_request', message: expect.stringMatching(message) } },
  })
})

test('2,000 failed calls are redriven by a filter, 500 a request, and not again by the next run', async () => {
  const plane = await setup()
  for (let batch = 0; batch < 2; batch++) await failed(plane, 'greeter', 1_000)
  plane.statements()
  const calls = await redriveAll(plane, { state: ['failed'], service: 'greeter' })
  expect(plane.statements().length).toBeLessThanOrEqual(10)
  expect(new Set(calls.map(({ redrivenAs }) => redrivenAs)).size).toBe(2_000)
  expect(calls.every(({ isNew }) => isNew)).toBe(true)
  expect(await redriveAll(plane, {})).toEqual([])
  const pending = await plane.sql<{ count: number }>(
    `select count(*) as count from callplane.jobs where namespace = $1 and state = 'pending'`,
    [plane.namespace],
  )
  expect(pending).toEqual([{ count: 2_000 }])
  expect(plane.logged.filter(({ event }) => event === 'calls_redriven')).toMatchObject([
    { calls: 500 },
    { calls: 500 },
    { calls: 500 },
    { calls: 500 },
  ])
})

test('a step that is repeated makes nothing twice', async () => {
  const plane = await setup()
  await failed(plane, 'greeter', 3)
  const begun = await redrive(plane, { filter: {} })
  expect(begun.body.calls).toEqual([])
  const step = { filter: {}, cursor: begun.body.next }
  expect((await redrive(plane, step)).body.calls).toHaveLength(3)
  // Its jobs fail at once; then the answer turns out to be lost.
  const { jobs } = await pollOnce(plane)
  await pollOnce(plane, { capacity: 0, reports: jobs.map((job) => threw(job, new Error('no'), false)) })
  expect((await redrive(plane, step)).body).toEqual({ calls: [] })
})

test('to list takes watch, to redrive by id call, by a filter admin; each for its services', async () => {
  const plane = await setup()
  const [mine = ''] = await failed(plane, 'mine')
  const [other = ''] = await failed(plane, 'other')
  const only = (scope: 'call' | 'watch' | 'admin' | 'serve') => plane.newKey([{ scope, services: ['mine'] }])
  const [call, watch, admin, serve] = await Promise.all([only('call'), only('watch'), only('admin'), only('serve')])
  for (const key of [call, admin, serve]) expect((await list(plane, '', key)).status).toBe(403)
  for (const key of [watch, admin, serve]) expect((await redrive(plane, { ids: [mine] }, key)).status).toBe(403)
  for (const key of [call, watch, serve]) expect((await redrive(plane, { filter: {} }, key)).status).toBe(403)
  expect((await list(plane, '', watch)).body.calls.map(({ id }) => id)).toEqual([mine])
  expect((await list(plane, '?service=other', watch)).body.calls).toEqual([])
  expect(await redriveAll(plane, {}, admin)).toMatchObject([{ id: mine, isNew: true }])
  expect((await redrive(plane, { ids: [other, mine] }, call)).body.calls).toMatchObject([
    { id: other, error: { code: 'not_found' } },
    { id: mine, isNew: false },
  ])
})

test('a call of another namespace is not listed, and not found by who knows its id', async () => {
  const [one, two] = [await setup(), await setup()]
  const [id = ''] = await failed(one, 'greeter')
  expect((await list(two)).body).toEqual({ calls: [] })
  expect((await redrive(two, { ids: [id] })).body.calls).toMatchObject([{ id, error: { code: 'not_found' } }])
  expect(await redriveAll(two, { state: ['failed'] })).toEqual([])
  expect((await list(one)).body.calls).toHaveLength(1)
})
