// Making calls over a connection that fails in every way: nothing is lost, nothing made twice, and no storm is raised.
import { expect, test, vi } from 'vitest'
import { decodePayload } from '../../src/protocol/codec.ts'
import { MAX_BODY_BYTES } from '../../src/protocol/limits.ts'
import { CallplaneError, type Call } from '../../src/sdk/index.ts'
import { CANCEL, CREATE, DONE, fakeTime, KEY, pass, settle, setup, succeeded, threw, WAIT } from './fake-plane.ts'

const mailOf = (plane: ReturnType<typeof setup>['plane']) => plane.client<Mailer>('mailer')

interface Mailer {
  name: 'mailer'
  functions: { greet: (name: string) => string; send: (...args: unknown[]) => void }
}

test('calls made in one tick share a request, and each gets its own result', async () => {
  const { fake, plane } = setup()
  const mail = mailOf(plane)
  const all = Promise.all([mail.greet('Ada'), mail.greet('Grace'), mail.send(1, 2)])
  const create = await fake.next(CREATE)
  create.succeed((call) => `hello ${String(decodePayload(call.args))}`)
  expect(await all).toEqual(['hello Ada', 'hello Grace', 'hello 1,2'])
  expect(fake.count(CREATE)).toBe(1)
  expect(create.body.waitMs).toBe(25_000)
  expect(create.body.calls.map((call) => `${call.service}.${call.function}`)).toEqual([
    'mailer.greet',
    'mailer.greet',
    'mailer.send',
  ])
})

test('a call carries its id, the digest of its arguments and the key, and not the key anywhere else', async () => {
  const { fake, plane } = setup()
  const call = mailOf(plane).greet('Ada')
  const create = await fake.next(CREATE)
  const [sent] = create.body.calls
  const digest = await crypto.subtle.digest('SHA-256', new Uint8Array(sent?.args ?? []))
  expect(sent?.argsDigest).toEqual(new Uint8Array(digest))
  expect(new Headers(create.init.headers).get('authorization')).toBe(`Bearer ${KEY}`)
  create.refuse(401, 'unauthorized')
  const error = await call.catch((thrown: unknown) => thrown)
  expect(error).toMatchObject({ code: 'unauthorized' })
  expect(JSON.stringify([error, String(error), (error as Error).stack, plane])).not.toContain('secret')
})

test('what happens to an argument after the call does not reach the plane', async () => {
  const { fake, plane } = setup()
  const list = [1]
  void mailOf(plane).send(list)
  list.push(2)
  const create = await fake.next(CREATE)
  expect(decodePayload(create.body.calls[0]?.args ?? new Uint8Array())).toEqual([[1]])
})

test('options travel with the call, and later ones override earlier ones', async () => {
  const { fake, plane } = setup()
  const urgent = mailOf(plane).greet.with({ priority: 5, timeoutMs: 100 })
  void urgent.with({ timeoutMs: 200, retry: { attempts: 2 } })('Ada')
  const create = await fake.next(CREATE)
  expect(create.body.calls[0]).toMatchObject({ priority: 5, timeoutMs: 200, retry: { attempts: 2 } })
})

test('the function’s error arrives as itself, and the ends that the plane makes as CallplaneErrors', async () => {
  const { fake, plane } = setup()
  const mail = mailOf(plane)
  const calls = Promise.allSettled(Array.from({ length: 6 }, () => mail.greet('Ada')))
  const create = await fake.next(CREATE)
  const [a = '', b = '', c = '', d = '', e = '', f = ''] = create.ids
  create.frames(
    create.accepted(),
    threw(a, new RangeError('too far')),
    threw(b, 'just a string'),
    { id: c, outcome: { ended: 'timed_out', message: 'too slow' } },
    { id: d, outcome: { ended: 'stalled', message: 'went silent' } },
    { id: e, outcome: { ended: 'expired', message: 'too late' } },
    { id: f, outcome: { ended: 'cancelled', message: 'because' } },
    DONE,
  )
  const reasons = (await calls).map((one) => (one.status === 'rejected' ? (one.reason as unknown) : null))
  expect(reasons[0]).toBeInstanceOf(RangeError)
  expect(reasons[1]).toBe('just a string')
  const codes = reasons.slice(2).map((reason) => (reason instanceof CallplaneError ? reason.code : reason))
  expect(codes).toEqual(['call_timed_out', 'call_stalled', 'call_expired', 'call_cancelled'])
})

test('a result that cannot be read fails its own call alone', async () => {
  const { fake, plane } = setup()
  const mail = mailOf(plane)
  const bad = mail.greet('Ada')
  const good = mail.greet('Grace')
  const create = await fake.next(CREATE)
  const [a = '', b = ''] = create.ids
  const result = new Uint8Array([1, 0xc1])
  create.frames(create.accepted(), { id: a, outcome: { ended: 'succeeded', result } }, succeeded(b, 'hi'), DONE)
  await expect(bad).rejects.toMatchObject({ code: 'invalid_msgpack' })
  expect(await good).toBe('hi')
})

test('a user’s data may have any key', async () => {
  const { fake, plane } = setup()
  const call = mailOf(plane).send()
  const value: unknown = JSON.parse('{ "then": 1, "iv": "x", "$d": 2, "constructor": 3 }')
  ;(await fake.next(CREATE)).succeed(() => value)
  expect(await call).toEqual(value)
})

test('start resolves once the call is on disk, without waiting for its end', async () => {
  const { fake, plane } = setup()
  const started = mailOf(plane).greet.start('Ada')
  const create = await fake.next(CREATE)
  expect(create.body.waitMs).toBe(0)
  create.frames(create.accepted(), DONE)
  expect((await started).id).toBe(create.ids[0])
})

test('a create without an answer is sent again with the same ids', async () => {
  fakeTime()
  const { fake, plane } = setup()
  const call = mailOf(plane).greet('Ada')
  const first = await fake.next(CREATE)
  first.break()
  await pass(100)
  const second = await fake.next(CREATE)
  expect(second.ids).toEqual(first.ids)
  second.frames(second.accepted(), DONE)
  const wait = await fake.next(WAIT)
  wait.frames(succeeded(first.ids[0] ?? '', 'hello'), DONE)
  expect(await call).toBe('hello')
})

test('an answer that is garbage or cut short is no answer', async () => {
  fakeTime()
  const { fake, plane } = setup()
  const call = mailOf(plane).greet.start('Ada')
  ;(await fake.next(CREATE)).respond(new Response('<h1>Welcome to the hotel</h1>'))
  await pass(100)
  const second = await fake.next(CREATE)
  second.frames()
  await pass(200)
  const third = await fake.next(CREATE)
  third.open()
  third.cut()
  await pass(400)
  const fourth = await fake.next(CREATE)
  fourth.frames(fourth.accepted(), DONE)
  expect((await call).id).toBe(second.ids[0])
})

test('while the plane is away, calls share one retry: an outage costs a few requests, however many calls wait', async () => {
  fakeTime()
  const { fake, plane } = setup()
  const mail = mailOf(plane)
  fake.always(CREATE, (asked) => asked.break())
  const results: Promise<string>[] = []
  for (let second = 0; second < 60; second++) {
    for (let n = 0; n < 20; n++) {
      results.push(mail.greet(`${second}.${n}`))
      await pass(50)
    }
  }
  expect(results.length).toBe(1_200)
  expect(fake.count(CREATE)).toBeLessThan(60)
  fake.always(CREATE, (asked) => asked.succeed((call) => String(decodePayload(call.args))))
  fake.always(WAIT, (asked) => asked.frames(...asked.ids.map((id) => succeeded(id, 'late')), DONE))
  const before = fake.count(CREATE)
  await pass(5_000)
  expect(await Promise.all(results)).toHaveLength(1_200)
  expect(fake.count(CREATE) - before).toBeLessThan(5)
})

test('a plane that asks for it is left alone for as long as it asks', async () => {
  fakeTime()
  vi.spyOn(Math, 'random').mockReturnValue(0)
  const { fake, plane } = setup()
  void mailOf(plane).greet('Ada')
  ;(await fake.next(CREATE)).refuse(503, 'overloaded', { 'retry-after': '7' })
  await settle()
  await pass(6_900)
  expect(fake.count(CREATE)).toBe(1)
  await pass(200)
  ;(await fake.next(CREATE)).refuse(429, 'too_many_requests', {
    'retry-after': new Date(Date.now() + 3_000).toUTCString(),
  })
  await settle()
  await pass(1_500)
  expect(fake.count(CREATE)).toBe(2)
  await pass(1_600)
  expect(fake.count(CREATE)).toBe(3)
})

test('without an answer for five minutes a call gives up, and says where, how long and why', async () => {
  fakeTime()
  const { fake, plane } = setup()
  fake.always(CREATE, (asked) => asked.break())
  const call = mailOf(plane).greet('Ada')
  const started = mailOf(plane).greet.start('Grace')
  const batch = mailOf(plane).greet.batch([['a']])
  await pass(299_000)
  expect(await Promise.race([call, 'waits'])).toBe('waits')
  await pass(2_000)
  await expect(call).rejects.toMatchObject({
    code: 'plane_unreachable',
    message: expect.stringMatching(
      /http:\/\/plane\.test did not answer for 30\d s: fetch failed: connect ECONNREFUSED/,
    ),
    cause: expect.any(TypeError),
  })
  await expect(started).rejects.toMatchObject({ code: 'plane_unreachable' })
  expect(await batch).toMatchObject([{ code: 'plane_unreachable' }])
})

test('a deadline bounds that time', async () => {
  fakeTime()
  const { fake, plane } = setup()
  fake.always(CREATE, (asked) => asked.break())
  const call = mailOf(plane).greet.with({ deadlineMs: 3_000 })('Ada')
  await pass(5_000)
  await expect(call).rejects.toMatchObject({ code: 'plane_unreachable' })
})

test('a plane that takes the request and never answers is given up too', async () => {
  fakeTime()
  const { fake, plane } = setup()
  const call = mailOf(plane).greet('Ada')
  const first = await fake.next(CREATE)
  await pass(36_000)
  expect(first.isAborted).toBe(true)
  expect(fake.count(CREATE)).toBe(2)
  await pass(280_000)
  await expect(call).rejects.toMatchObject({
    code: 'plane_unreachable',
    message: expect.stringContaining('no answer within'),
  })
})

test('a refusal is thrown at once', async () => {
  const { fake, plane } = setup()
  const call = mailOf(plane).greet('Ada')
  ;(await fake.next(CREATE)).refuse(403, 'forbidden')
  await expect(call).rejects.toMatchObject({ code: 'forbidden', message: 'the plane says forbidden' })
})

test('something that is not a plane is named at once, and so is a redirect', async () => {
  const { fake, plane } = setup()
  const call = mailOf(plane).greet('Ada')
  ;(await fake.next(CREATE)).respond(new Response('<h1>Not Found</h1>', { status: 404 }))
  await expect(call).rejects.toMatchObject({
    code: 'plane_unreachable',
    message: 'http://plane.test answered 404, but not as a control plane does: check CALLPLANE_URL',
  })
  const moved = mailOf(plane).greet('Ada')
  const asked = await fake.next(CREATE)
  expect(asked.init.redirect).toBe('manual')
  asked.respond(new Response(null, { status: 301, headers: { location: 'https://plane.test' } }))
  await expect(moved).rejects.toThrow('301 (https://plane.test)')
})

test('one bad call does not fail those that shared its request', async () => {
  const { fake, plane } = setup()
  const mail = mailOf(plane)
  const other = plane.client('other')
  const results = Promise.allSettled([mail.greet('a'), mail.greet('bad'), mail.greet('c'), other['run']?.()])
  fake.always(CREATE, (asked) => {
    if (asked.body.calls.some((call) => call.service === 'other')) asked.refuse(403, 'forbidden')
    else if (asked.body.calls.some((call) => decodePayload(call.args)?.toString() === 'bad')) {
      asked.refuse(400, 'invalid_request')
    } else asked.succeed(() => 'fine')
  })
  const [a, bad, c, run] = await results
  expect([a, c]).toEqual([
    { status: 'fulfilled', value: 'fine' },
    { status: 'fulfilled', value: 'fine' },
  ])
  expect(bad).toMatchObject({ reason: { code: 'invalid_request' } })
  expect(run).toMatchObject({ reason: { code: 'forbidden' } })
})

test('a key that may not call a service is told so once, however many calls there are', async () => {
  const { fake, plane } = setup()
  fake.always(CREATE, (asked) => asked.refuse(403, 'forbidden'))
  const items = await mailOf(plane).greet.batch(Array.from({ length: 100 }, () => ['Ada']))
  expect(items).toMatchObject(Array.from({ length: 100 }, () => ({ code: 'forbidden' })))
  expect(fake.count(CREATE)).toBe(1)
})

test('a call that the plane refuses by itself gets its own error', async () => {
  const { fake, plane } = setup()
  const mail = mailOf(plane)
  const started = mail.greet.batch([['a'], ['b']])
  const create = await fake.next(CREATE)
  const [a = '', b = ''] = create.ids
  create.frames({ accepted: [{ id: a }, { id: b, error: { code: 'call_id_expired', message: 'old' } }] }, DONE)
  const [first, second] = await started
  expect(first).toMatchObject({ id: a })
  expect(second).toMatchObject({ code: 'call_id_expired', message: 'old' })
})

test('a call that the plane could not take just now is sent again, and those beside it are not', async () => {
  fakeTime()
  const { fake, plane } = setup()
  const started = mailOf(plane).greet.batch([['a'], ['b']])
  const create = await fake.next(CREATE)
  const [a = '', b = ''] = create.ids
  const error = { code: 'database_unavailable', message: 'soon' } as const
  create.frames({ accepted: [{ id: a }, { id: b, error }] }, DONE)
  await settle()
  await pass(100)
  const again = await fake.next(CREATE)
  expect(again.ids).toEqual([b])
  again.frames(again.accepted(), DONE)
  expect((await started).map((call) => (call as Call<string>).id)).toEqual([a, b])
})

test('a batch of more calls than a request may hold is split, and comes back in order', async () => {
  const { fake, plane } = setup()
  fake.always(CREATE, (asked) => asked.frames(asked.accepted(), DONE))
  const calls = await mailOf(plane).greet.batch(Array.from({ length: 2_500 }, (_, n) => [String(n)]))
  expect(fake.asked.map((asked) => asked.ids.length)).toEqual([1_000, 1_000, 500])
  expect(calls.map((call) => (call as Call<string>).id)).toEqual(fake.asked.flatMap((asked) => asked.ids))
})

test('calls whose arguments are more than a body may hold are split over requests', async () => {
  const { fake, plane } = setup()
  fake.always(CREATE, (asked) => asked.frames(asked.accepted(), DONE))
  await mailOf(plane).greet.batch(Array.from({ length: 20 }, () => ['x'.repeat(900_000)]))
  for (const { init } of fake.asked) expect((init.body as Uint8Array).length).toBeLessThanOrEqual(MAX_BODY_BYTES)
  expect(fake.asked.length).toBe(4)
})

test('in a batch, arguments that cannot be sent are the error of their item alone', async () => {
  const { fake, plane } = setup()
  const started = mailOf(plane).send.batch([[1], [{ list: [0, () => 1] }], ['x'.repeat(1_100_000)], [2]])
  const create = await fake.next(CREATE)
  create.frames(create.accepted(), DONE)
  const [first, second, third, fourth] = await started
  expect([first, fourth]).toMatchObject(create.ids.map((id) => ({ id })))
  expect(second).toMatchObject({ code: 'not_serializable', message: 'args[0].list[1]: functions cannot be sent' })
  expect(third).toMatchObject({ code: 'payload_too_large' })
})

test('an aborted signal rejects with its reason: before the call is sent there is no call', async () => {
  const { fake, plane } = setup()
  const reason = new Error('enough')
  const greet = mailOf(plane).greet.with({ signal: AbortSignal.abort(reason) })
  await expect(greet('Ada')).rejects.toBe(reason)
  await expect(greet.start('Ada')).rejects.toBe(reason)
  await expect(greet.batch([['Ada']])).rejects.toBe(reason)
  const controller = new AbortController()
  const call = mailOf(plane).greet.with({ signal: controller.signal })('Ada')
  controller.abort(reason)
  await expect(call).rejects.toBe(reason)
  await settle()
  expect(fake.asked).toEqual([])
})

test('after it is sent, aborting rejects at once and cancels the call at the plane', async () => {
  const { fake, plane } = setup()
  const controller = new AbortController()
  const call = mailOf(plane).greet.with({ signal: controller.signal })('Ada')
  const create = await fake.next(CREATE)
  create.open()
  create.frame(create.accepted())
  await settle()
  controller.abort('enough')
  await expect(call).rejects.toBe('enough')
  const cancel = await fake.next(CANCEL)
  expect(cancel.ids).toEqual(create.ids)
  cancel.refuse(403, 'forbidden')
})

test('a call that was taken back while it was on its way is cancelled once the plane has it', async () => {
  fakeTime()
  const { fake, plane } = setup()
  const controller = new AbortController()
  const call = mailOf(plane).greet.with({ signal: controller.signal }).start('Ada')
  const create = await fake.next(CREATE)
  controller.abort('enough')
  await expect(call).rejects.toBe('enough')
  ;(await fake.next(CANCEL)).answer({ calls: [{ id: create.ids[0], error: { code: 'not_found', message: '' } }] })
  create.frames(create.accepted(), DONE)
  const cancel = await fake.next(CANCEL)
  expect(cancel.ids).toEqual(create.ids)
  cancel.answer({ calls: [{ id: create.ids[0], state: 'cancelled' }] })
})

test('a signal that outlives its calls is let go of by each', async () => {
  const { fake, plane } = setup()
  const { signal } = new AbortController()
  const added = vi.spyOn(signal, 'addEventListener')
  const removed = vi.spyOn(signal, 'removeEventListener')
  fake.always(CREATE, (asked) => asked.succeed())
  await mailOf(plane).greet.with({ signal })('Ada')
  await settle()
  expect(removed.mock.calls.length).toBe(added.mock.calls.length)
  expect(added.mock.calls.length).toBe(1)
})

test('a call that nobody awaits may fail', async () => {
  const { fake, plane } = setup()
  fake.always(CREATE, (asked) => asked.refuse(403, 'forbidden'))
  void mailOf(plane).greet('Ada')
  void mailOf(plane).greet.start('Ada')
  void mailOf(plane).send(() => 1)
  await settle()
  expect(fake.count(CREATE)).toBeGreaterThan(0)
})
