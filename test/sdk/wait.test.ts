// Waiting for calls to end: over streams that are cut, over outages, and without a request for each call.
import { expect, test, vi } from 'vitest'
import { encodePayload } from '../../src/protocol/codec.ts'
import { CREATE, CANCEL, DONE, fakeTime, pass, settle, setup, succeeded, TIME_OVER, WAIT } from './fake-plane.ts'

const ID = '01a1ff7d-677e-76ed-826b-4d004ed1c8f7'

interface Mailer {
  name: 'mailer'
  functions: { greet: (name: string) => string }
}

const mailOf = (plane: ReturnType<typeof setup>['plane']) => plane.client<Mailer>('mailer')

test('results arrive as they come, not with the last', async () => {
  const { fake, plane } = setup()
  const slow = mailOf(plane).greet('slow')
  const fast = mailOf(plane).greet('fast')
  const create = await fake.next(CREATE)
  create.open()
  create.frame(create.accepted(), succeeded(create.ids[1] ?? '', 'first'))
  expect(await fast).toBe('first')
  create.frame(succeeded(create.ids[0] ?? '', 'second'))
  expect(await slow).toBe('second')
})

test('calls that the answer has no time for are waited for by the next request', async () => {
  const { fake, plane } = setup()
  const all = Promise.all([mailOf(plane).greet('a'), mailOf(plane).greet('b')])
  const create = await fake.next(CREATE)
  const [a = '', b = ''] = create.ids
  create.frames(create.accepted(), succeeded(a, 'A'), TIME_OVER)
  const wait = await fake.next(WAIT)
  expect(wait.body).toEqual({ ids: [b], waitMs: 25_000 })
  wait.frames(succeeded(b, 'B'), DONE)
  expect(await all).toEqual(['A', 'B'])
})

test('a stream that is cut costs no result', async () => {
  fakeTime()
  const { fake, plane } = setup()
  const call = mailOf(plane).greet('a')
  const create = await fake.next(CREATE)
  create.open()
  create.frame(create.accepted())
  await settle()
  create.cut()
  await settle()
  await pass(100)
  const wait = await fake.next(WAIT)
  expect(wait.ids).toEqual(create.ids)
  wait.frames(succeeded(create.ids[0] ?? '', 'A'), DONE)
  expect(await call).toBe('A')
})

test('an accepted call waits through an outage of hours', async () => {
  fakeTime()
  const { fake, plane } = setup()
  const call = mailOf(plane).greet('a')
  const create = await fake.next(CREATE)
  create.frames(create.accepted(), TIME_OVER)
  fake.always(WAIT, (asked) => asked.break())
  await settle()
  await pass(2 * 3_600_000)
  const tries = fake.count(WAIT)
  expect(tries).toBeGreaterThan(1_000)
  expect(tries).toBeLessThan(7_300)
  fake.always(WAIT, (asked) => asked.frames(succeeded(asked.ids[0] ?? '', 'at last'), DONE))
  await pass(5_000)
  expect(await call).toBe('at last')
})

test('an accepted call with a deadline waits until a little after it', async () => {
  fakeTime()
  const { fake, plane } = setup()
  const call = mailOf(plane).greet.with({ deadlineMs: 60_000 })('a')
  const create = await fake.next(CREATE)
  create.frames(create.accepted(), TIME_OVER)
  fake.always(WAIT, (asked) => asked.break())
  await settle()
  await pass(68_000)
  expect(await Promise.race([call, 'waits'])).toBe('waits')
  await pass(4_000)
  await expect(call).rejects.toMatchObject({ code: 'call_expired' })
})

test('a result that is asked for later is bounded by the deadline too', async () => {
  fakeTime()
  const { fake, plane } = setup()
  const started = mailOf(plane).greet.with({ deadlineMs: 60_000 }).start('a')
  const create = await fake.next(CREATE)
  create.frames(create.accepted(), DONE)
  const call = await started
  await pass(10_000)
  fake.always(WAIT, (asked) => asked.break())
  const result = call.result()
  await pass(62_000)
  await expect(result).rejects.toMatchObject({ code: 'call_expired' })
})

test('a refusal ends the wait, a fault of the plane does not', async () => {
  fakeTime()
  const { fake, plane } = setup()
  const call = plane.call(ID).result()
  ;(await fake.next(WAIT)).frames({ id: ID, error: { code: 'database_unavailable', message: 'soon' } }, DONE)
  await settle()
  await pass(100)
  const second = await fake.next(WAIT)
  expect(await Promise.race([call, 'waits'])).toBe('waits')
  second.refuse(401, 'unauthorized')
  await expect(call).rejects.toMatchObject({ code: 'unauthorized' })
  const unknown = plane.call(ID).result()
  ;(await fake.next(WAIT)).frames({ id: ID, error: { code: 'not_found', message: 'no such call' } }, DONE)
  await expect(unknown).rejects.toMatchObject({ code: 'not_found' })
})

test('while a proxy answers in the plane’s place, accepted calls wait', async () => {
  fakeTime()
  const { fake, plane } = setup()
  const call = plane.call(ID).result()
  ;(await fake.next(WAIT)).respond(new Response('no backend', { status: 404 }))
  await settle()
  await pass(100)
  ;(await fake.next(WAIT)).frames(succeeded(ID, 'here'), DONE)
  expect(await call).toBe('here')
})

test('a plane that does not wait is not asked again at once', async () => {
  fakeTime()
  const { fake, plane } = setup()
  void plane.call(ID).result()
  fake.always(WAIT, (asked) => asked.frames(TIME_OVER))
  await settle()
  expect(fake.count(WAIT)).toBe(1)
  await pass(60_000)
  expect(fake.count(WAIT)).toBeGreaterThan(10)
})

test('results asked for in one tick share a request, and one asked for twice is one', async () => {
  const { fake, plane } = setup()
  const other = ID.replace('01a1', '01a2')
  const call = plane.call(ID)
  const all = Promise.all([call.result(), plane.call(other).result(), call.result(), plane.call(ID).result()])
  const wait = await fake.next(WAIT)
  expect(wait.ids).toEqual([ID, other])
  wait.frames(succeeded(ID, 1), succeeded(other, 2), DONE)
  expect(await all).toEqual([1, 2, 1, 1])
  expect(await call.result()).toBe(1)
  expect(fake.asked.length).toBe(1)
})

test('calls that take their time share one open request', async () => {
  fakeTime()
  const { fake, plane } = setup()
  const calls: Promise<string>[] = []
  for (let n = 0; n < 20; n++) {
    calls.push(mailOf(plane).greet(String(n)), mailOf(plane).greet(String(n)))
    const create = await fake.next(CREATE)
    create.open()
    create.frame(create.accepted())
    await pass(500)
  }
  await pass(3_000)
  const open = fake.asked.filter((asked) => !asked.isAborted)
  expect(open.map((asked) => asked.path)).toEqual([WAIT])
  expect(open[0]?.ids.length).toBe(40)
  open[0]?.frames(...open[0].ids.map((id) => succeeded(id, 'late')), DONE)
  expect(await Promise.all(calls)).toHaveLength(40)
})

test('a stream that nobody waits for any more is closed, and one about to end is read to its end', async () => {
  const { fake, plane } = setup()
  const awaited = mailOf(plane).greet('a')
  const started = mailOf(plane).greet.start('b')
  const mixed = await fake.next(CREATE)
  mixed.open()
  mixed.frame(mixed.accepted(), succeeded(mixed.ids[0] ?? '', 'A'))
  expect(await awaited).toBe('A')
  await started
  await settle()
  expect(mixed.isAborted).toBe(true)
  const alone = mailOf(plane).greet('c')
  const create = await fake.next(CREATE)
  create.open()
  create.frame(create.accepted(), succeeded(create.ids[0] ?? '', 'C'))
  expect(await alone).toBe('C')
  await settle()
  expect(create.isAborted).toBe(false)
})

test('cancel says which end came first', async () => {
  const { fake, plane } = setup()
  const cancelled = plane.call(ID).cancel('why')
  const cancel = await fake.next(CANCEL)
  expect(cancel.body).toEqual({ ids: [ID], reason: 'why' })
  cancel.answer({ calls: [{ id: ID, state: 'succeeded' }] })
  expect(await cancelled).toBe('succeeded')
  const unknown = plane.call(ID).cancel()
  ;(await fake.next(CANCEL)).answer({ calls: [{ id: ID, error: { code: 'not_found', message: 'no such call' } }] })
  await expect(unknown).rejects.toMatchObject({ code: 'not_found' })
})

test('cancel and status are tried again while the plane is away, for five minutes', async () => {
  fakeTime()
  const { fake, plane } = setup()
  const path = `/v1/calls/${ID}`
  fake.always(CANCEL, (asked) => asked.break())
  const status = plane.call(ID).status()
  const cancelled = plane.call(ID).cancel()
  ;(await fake.next(path)).break()
  await settle()
  await pass(100)
  ;(await fake.next(path)).answer({ id: ID, state: 'pending', attempt: 0, waitingFor: 'runner', attempts: [] })
  expect(await status).toEqual({ id: ID, state: 'pending', attempt: 0, waitingFor: 'runner' })
  await pass(301_000)
  await expect(cancelled).rejects.toMatchObject({ code: 'plane_unreachable' })
})

test('the status of a call has its times as dates and its values as they were', async () => {
  const { fake, plane } = setup()
  const status = plane.call(ID.toUpperCase()).status()
  ;(await fake.next(`/v1/calls/${ID}`)).answer({
    id: ID,
    state: 'failed',
    attempt: 2,
    runAt: '2026-11-21T19:00:00.000Z',
    reason: 'it threw',
    progress: encodePayload(new Map([[1, 2]]), 'progress'),
    error: encodePayload(new RangeError('far'), 'error'),
  })
  expect(await status).toMatchObject({
    runAt: new Date('2026-11-21T19:00:00.000Z'),
    reason: 'it threw',
    progress: new Map([[1, 2]]),
    error: expect.any(RangeError),
  })
})

test('waiting for a call is no timer of its own', async () => {
  const { fake, plane } = setup()
  fake.always(CREATE, (asked) => asked.succeed())
  await mailOf(plane).greet('warm')
  const timers = vi.spyOn(globalThis, 'setTimeout')
  const calls = Array.from({ length: 100 }, () => mailOf(plane).greet('a'))
  await Promise.all(calls)
  expect(timers.mock.calls.length).toBeLessThanOrEqual(2)
  timers.mockRestore()
})
