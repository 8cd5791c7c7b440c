// A runner: takes jobs by one poll, runs them, reports them, and loses nothing on a connection that fails.
import { expect, test, vi } from 'vitest'
import { decodePayload } from '../../src/protocol/codec.ts'
import type { Report } from '../../src/protocol/runners.ts'
import { CallplaneError, define, NonRetryableError } from '../../src/sdk/index.ts'
import { fakeTime, job, pass, POLL, REGISTER, serve, settle, setup, type Asked } from './fake-plane.ts'

const resultOf = (report: Report | undefined) =>
  report?.ended === 'succeeded' ? decodePayload(report.result) : 'no result'
const errorOf = (report: Report | undefined) => (report?.ended === 'threw' ? decodePayload(report.error) : 'no error')

/** Runs one job, and answers its report. */
async function reportOf(poll: Asked, fake: { next(path: string): Promise<Asked> }, ...of: Parameters<typeof job>) {
  poll.deliver([job(...of)])
  const next = await fake.next(POLL)
  return { next, report: next.body.reports?.[0] }
}

test('start registers the service with its policies, and asks for jobs', async () => {
  const { fake, plane } = setup()
  const greet = define({ retry: { attempts: 5 }, leaseMs: 60_000 }, (name: string) => `hello ${name}`)
  await plane.service('mailer', { functions: { greet, plain: () => 1 }, slots: 7 }).start()
  const [register] = fake.asked
  expect(register?.body).toMatchObject({
    runner: expect.stringMatching(/^[0-9a-f-]{36}$/),
    sdk: expect.stringContaining('callplane'),
    services: [
      {
        name: 'mailer',
        slots: 7,
        functions: [
          { name: 'greet', policy: { retry: { attempts: 5 }, leaseMs: 60_000 } },
          { name: 'plain', policy: {} },
        ],
      },
    ],
  })
  const poll = await fake.next(POLL)
  expect(poll.body.runner).toBe(register?.body.runner)
  expect(poll.body.claim?.services).toEqual([{ name: 'mailer', functions: ['greet', 'plain'], capacity: 7 }])
  expect(poll.body.claim?.waitMs).toBeGreaterThanOrEqual(22_500)
  expect(poll.body.claim?.waitMs).toBeLessThanOrEqual(25_000)
})

test('a job after a job costs one request each: the report rides with the next claim', async () => {
  const { fake, poll } = await serve({ greet: (name: string) => `hello ${name}` })
  let last = poll
  for (let n = 0; n < 20; n++) {
    last.deliver([job('mailer', 'greet', [n])])
    const next = await fake.next(POLL)
    expect(next.body.reports?.map(resultOf)).toEqual([`hello ${n}`])
    expect(next.body.claim?.id).not.toBe(last.body.claim?.id)
    last = next
  }
  expect(fake.count(POLL)).toBe(21)
})

test('a function that takes a moment costs no second request, one that takes longer does', async () => {
  fakeTime()
  const { fake, poll } = await serve({ wait: (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms)) })
  poll.deliver([job('mailer', 'wait', [4])])
  await pass(20)
  const second = await fake.next(POLL)
  expect(second.body.reports?.length).toBe(1)
  expect(fake.count(POLL)).toBe(2)
  second.deliver([job('mailer', 'wait', [50])])
  await pass(20)
  const third = await fake.next(POLL)
  expect(third.body.reports).toBeUndefined()
  await pass(50)
  expect((await fake.next(POLL)).body.reports?.length).toBe(1)
})

test('results that come in one tick share a request', async () => {
  const { fake, poll } = await serve({ greet: async (name: string) => `hello ${name}` })
  poll.deliver(Array.from({ length: 30 }, (_, n) => job('mailer', 'greet', [n])))
  expect((await fake.next(POLL)).body.reports?.length).toBe(30)
})

test('a result that comes while a poll hangs is reported at once, beside it, and what comes meanwhile shares the next', async () => {
  const gates = Array.from({ length: 3 }, () => Promise.withResolvers<string>())
  const { fake, poll } = await serve({ wait: (n: number) => gates[n]?.promise })
  poll.deliver([0, 1, 2].map((n) => job('mailer', 'wait', [n])))
  const hanging = await fake.next(POLL)
  expect(hanging.body.reports).toBeUndefined()
  gates[0]?.resolve('a')
  const first = await fake.next(POLL)
  expect(first.body.claim).toBeUndefined()
  expect(first.body.reports?.map(resultOf)).toEqual(['a'])
  gates[1]?.resolve('b')
  gates[2]?.resolve('c')
  await settle()
  expect(fake.count(POLL)).toBe(3)
  first.deliver([])
  expect((await fake.next(POLL)).body.reports?.map(resultOf)).toEqual(['b', 'c'])
  expect(hanging.isAborted).toBe(false)
})

test('the claim keeps its id until an answer was received, and a job that comes twice runs once', async () => {
  fakeTime()
  let runs = 0
  const { fake, poll } = await serve({ count: () => ++runs })
  poll.break()
  await settle()
  await pass(100)
  const second = await fake.next(POLL)
  expect(second.body.claim?.id).toBe(poll.body.claim?.id)
  second.respond(new Response('not msgpack'))
  await settle()
  await pass(300)
  const third = await fake.next(POLL)
  expect(third.body.claim?.id).toBe(poll.body.claim?.id)
  const one = job('mailer', 'count', [])
  third.deliver([one, one])
  const fourth = await fake.next(POLL)
  expect(fourth.body.claim?.id).not.toBe(poll.body.claim?.id)
  expect(fourth.body.reports?.map(resultOf)).toEqual([1])
})

test('a service that is started while a poll hangs is asked for at once, under the same claim', async () => {
  const { fake, plane, poll } = await serve({ greet: () => 'hi' })
  let runs = 0
  const run = () => {
    runs++
    return 'ran'
  }
  await plane.service('second', { functions: { run } }).start()
  expect(fake.asked.findLast((asked) => asked.path === REGISTER)?.body.services?.map(({ name }) => name)).toEqual([
    'mailer',
    'second',
  ])
  const replacing = await fake.next(POLL)
  expect(replacing.body.claim?.id).toBe(poll.body.claim?.id)
  expect(replacing.body.claim?.services.map(({ name }) => name)).toEqual(['mailer', 'second'])
  // Whichever of them brings the jobs of the claim: each runs once.
  const one = job('second', 'run', [])
  poll.deliver([one])
  replacing.deliver([one])
  const sent: Asked[] = []
  fake.always(POLL, (asked) => void sent.push(asked))
  await settle()
  expect(runs).toBe(1)
  expect(sent.flatMap((asked) => asked.body.reports ?? []).map(resultOf)).toEqual(['ran'])
  expect(sent.at(-1)?.body.claim?.id).not.toBe(poll.body.claim?.id)
})

test('a service whose slots were all busy is asked for as soon as one is free, though a poll hangs for others', async () => {
  const { fake, plane, poll } = await serve({ idle: () => 'idle' })
  const gate = Promise.withResolvers<string>()
  await plane.service('single', { functions: { wait: () => gate.promise }, slots: 1 }).start()
  const both = await fake.next(POLL)
  poll.deliver([])
  both.deliver([job('single', 'wait', [])])
  const others = await fake.next(POLL)
  expect(others.body.claim?.services.map(({ name }) => name)).toEqual(['mailer'])
  gate.resolve('done')
  const again = await fake.next(POLL)
  expect(again.body.claim?.services.map(({ name }) => name)).toEqual(['mailer', 'single'])
  expect(again.body.reports?.map(resultOf)).toEqual(['done'])
})

test('with every slot busy nothing is asked for, and heartbeats go on', async () => {
  fakeTime()
  const { fake, poll } = await serve({ forever: () => new Promise<never>(() => {}) }, { slots: 2 })
  poll.deliver([job('mailer', 'forever', []), job('mailer', 'forever', [])])
  await settle()
  await pass(4_900)
  expect(fake.count(POLL)).toBe(1)
  await pass(200)
  const beat = await fake.next(POLL)
  expect(beat.body.claim).toBeUndefined()
  expect(beat.body.heartbeats?.length).toBe(2)
  beat.deliver([])
  await pass(10_100)
  expect((await fake.next(POLL)).body.heartbeats?.length).toBe(2)
})

test('never more run at once than there are slots, also when they change', async () => {
  const gates: PromiseWithResolvers<void>[] = []
  const wait = () => {
    const gate = Promise.withResolvers<void>()
    gates.push(gate)
    return gate.promise
  }
  const { fake, service, poll } = await serve({ wait }, { slots: 3 })
  service.slots = 2
  // The poll under way may bring as many as it asked for.
  const settling = await fake.next(POLL)
  expect(settling.body.claim).toMatchObject({ id: poll.body.claim?.id, waitMs: 0, services: [{ capacity: 2 }] })
  poll.deliver([1, 2, 3].map(() => job('mailer', 'wait', [])))
  await settle()
  expect(gates.length).toBe(2)
  settling.deliver([])
  gates[0]?.resolve()
  const report = await fake.next(POLL)
  expect(report.body.claim).toBeUndefined()
  await settle()
  expect(gates.length).toBe(3)
  service.slots = 100
  expect((await fake.next(POLL)).body.claim?.services[0]?.capacity).toBe(98)
  expect(() => (service.slots = -1)).toThrow('slots must be a whole number from 0 to 100000, not -1')
  expect(service.slots).toBe(100)
})

test('0 slots pause the service: what is on its way waits here, and nothing more is asked for', async () => {
  let runs = 0
  const { fake, service, poll } = await serve({ count: () => ++runs })
  service.slots = 0
  const settling = await fake.next(POLL)
  // Under the name of a function that nobody has: only what the claim holds already can come.
  expect(settling.body.claim).toMatchObject({ id: poll.body.claim?.id, waitMs: 0, services: [{ name: 'mailer' }] })
  expect(settling.body.claim?.services[0]?.functions).not.toContain('count')
  settling.deliver([job('mailer', 'count', [])])
  ;(await fake.next(POLL)).deliver([]) // what the hanging poll may have been given
  await settle()
  expect(runs).toBe(0)
  expect(fake.count(POLL)).toBe(3)
  service.slots = 1
  await settle()
  expect(runs).toBe(1)
})

test('reports are kept through an outage, and sent until the plane answers', async () => {
  fakeTime()
  const { fake, poll } = await serve({ greet: (name: string) => `hello ${name}` })
  fake.always(POLL, (asked) => asked.break())
  poll.deliver([job('mailer', 'greet', ['Ada'])])
  await settle()
  await pass(60 * 60_000)
  expect(fake.count(POLL)).toBeLessThan(3_700)
  const answered: Asked[] = []
  fake.always(POLL, (asked) => void answered.push(asked))
  await pass(5_000)
  expect(answered[0]?.body.reports?.map(resultOf)).toEqual(['hello Ada'])
  expect(answered[0]?.body.claim).toBeDefined()
})

test('after an outage the runner registers again: the plane may have forgotten it', async () => {
  fakeTime()
  const { fake, poll } = await serve({ greet: () => 'hi' })
  fake.always(POLL, (asked) => asked.break())
  poll.break()
  await settle()
  await pass(60_000)
  fake.always(POLL, (asked) => void setTimeout(() => asked.deliver([]), 20_000))
  expect(fake.count(REGISTER)).toBe(1)
  await pass(30_000)
  expect(fake.count(REGISTER)).toBe(2)
})

test('a report of a lost lease is dropped, and one that the plane cannot take now is sent again', async () => {
  fakeTime()
  const { fake, poll } = await serve({ greet: (name: string) => `hello ${name}` })
  poll.deliver([job('mailer', 'greet', ['lost']), job('mailer', 'greet', ['later'])])
  const next = await fake.next(POLL)
  next.deliver([], {
    reports: [
      { error: { code: 'lease_lost', message: 'gone' } },
      { error: { code: 'database_unavailable', message: 'soon' } },
    ],
  })
  await settle()
  await pass(100)
  expect((await fake.next(POLL)).body.reports?.map(resultOf)).toEqual(['hello later'])
})

test('a report that the plane does not take becomes the error that says so', async () => {
  const { fake, poll } = await serve({ greet: (name: string) => `hello ${name}` })
  const { next, report } = await reportOf(poll, fake, 'mailer', 'greet', ['Ada'])
  expect(resultOf(report)).toBe('hello Ada')
  next.deliver([], { reports: [{ error: { code: 'payload_too_large', message: 'too large' } }] })
  const replaced = (await fake.next(POLL)).body.reports?.[0]
  expect(replaced).toMatchObject({ ended: 'threw', isRetryable: false })
  expect(errorOf(replaced)).toMatchObject({ code: 'payload_too_large', message: 'too large' })
})

test('one report that makes the plane refuse the whole request does not hold back the others', async () => {
  fakeTime()
  const { fake, poll } = await serve({ greet: (name: string) => `hello ${name}` })
  const applied: unknown[] = []
  fake.always(POLL, (asked) => {
    const reports = asked.body.reports ?? []
    if (reports.some((report) => resultOf(report) === 'hello 1')) {
      return asked.respond(new Response('Request Entity Too Large', { status: 413 }))
    }
    applied.push(...reports.map((report) => (report.ended === 'succeeded' ? resultOf(report) : errorOf(report))))
    if (asked.body.claim === undefined) asked.deliver([])
  })
  poll.deliver([0, 1, 2].map((n) => job('mailer', 'greet', [n])))
  await settle()
  await pass(30_000)
  expect(applied.length).toBe(3)
  expect(applied).toEqual(expect.arrayContaining(['hello 0', 'hello 2']))
  expect(applied.find((value) => value instanceof CallplaneError)).toMatchObject({ code: 'payload_too_large' })
})

test('a proxy that answers in the plane’s place costs no result', async () => {
  fakeTime()
  const { fake, poll } = await serve({ greet: () => 'hi' })
  const { next } = await reportOf(poll, fake, 'mailer', 'greet', [])
  next.respond(new Response('no backend', { status: 404 }))
  await settle()
  await pass(100)
  expect((await fake.next(POLL)).body.reports?.map(resultOf)).toEqual(['hi'])
})

test('a key that is revoked is told once, and asked for again', async () => {
  fakeTime()
  const warn = vi.spyOn(console, 'warn').mockImplementation(() => {})
  const { fake, poll } = await serve({ greet: () => 'hi' })
  fake.always(POLL, (asked) => asked.refuse(401, 'unauthorized'))
  poll.refuse(401, 'unauthorized')
  await settle()
  await pass(60_000)
  expect(fake.count(POLL)).toBeGreaterThan(10)
  expect(warn.mock.calls).toEqual([['callplane: this runner is refused: unauthorized: the plane says unauthorized']])
  warn.mockRestore()
})

test('a plane that does not wait is not asked again at once', async () => {
  fakeTime()
  const { fake, poll } = await serve({ greet: () => 'hi' })
  fake.always(POLL, (asked) => asked.deliver([]))
  poll.deliver([])
  await settle()
  expect(fake.count(POLL)).toBe(1)
  await pass(60_000)
  expect(fake.count(POLL)).toBeGreaterThan(10)
})

test('an error is reported as it was thrown, and says whether to try again', async () => {
  class MyError extends NonRetryableError {}
  const thrown: Record<string, unknown> = {
    plain: new Error('no'),
    final: new MyError('never'),
    busy: Object.assign(new Error('busy'), { code: 'E_BUSY' }),
    text: 'just a string',
    nothing: null,
    arguments: new CallplaneError('invalid_arguments'),
    proxy: new Proxy(
      {},
      {
        getPrototypeOf() {
          throw new Error('not even that')
        },
      },
    ),
  }
  const { fake, poll } = await serve({
    fail: (kind: string) => {
      throw thrown[kind]
    },
  })
  const cases: [kind: string, retryOn: string[] | undefined, isRetryable: boolean][] = [
    ['plain', undefined, true],
    ['plain', ['stall', 'timeout'], false],
    ['plain', ['throw'], true],
    ['plain', ['Error'], true],
    ['busy', ['E_BUSY'], true],
    ['busy', ['E_OTHER'], false],
    ['text', undefined, true],
    ['text', ['Error'], false],
    ['nothing', ['Error'], false],
    ['final', undefined, false],
    ['final', ['throw'], false],
    ['arguments', ['throw'], false],
    ['proxy', undefined, true],
  ]
  let last = poll
  for (const [kind, retryOn, isRetryable] of cases) {
    const { next, report } = await reportOf(last, fake, 'mailer', 'fail', [kind], retryOn && { retryOn })
    expect(report, `${kind} ${String(retryOn)}`).toMatchObject({ ended: 'threw', isRetryable })
    if (kind === 'text') expect(errorOf(report)).toBe('just a string')
    if (kind === 'busy') expect(errorOf(report)).toMatchObject({ message: 'busy', code: 'E_BUSY' })
    last = next
  }
})

test('a result that cannot be sent is an error that names the path', async () => {
  const { fake, poll } = await serve({
    give: (kind: string): unknown => (kind === 'fn' ? { items: [1, { fn() {} }] } : 'x'.repeat(1_100_000)),
  })
  const first = await reportOf(poll, fake, 'mailer', 'give', ['fn'])
  expect(first.report).toMatchObject({ isRetryable: false })
  expect(errorOf(first.report)).toMatchObject({
    code: 'result_not_serializable',
    message: 'result.items[1].fn: functions cannot be sent',
  })
  const second = await reportOf(first.next, fake, 'mailer', 'give', ['large'])
  expect(second.report).toMatchObject({ isRetryable: false })
  expect(errorOf(second.report)).toMatchObject({ code: 'payload_too_large' })
})

test('only a service’s own functions can be called', async () => {
  const { fake, poll } = await serve({ greet: () => 'hi' })
  let last = poll
  for (const name of ['constructor', '__proto__', 'toString', 'hasOwnProperty', 'nothing']) {
    const { next, report } = await reportOf(last, fake, 'mailer', name, [])
    expect(report).toMatchObject({ ended: 'threw', isRetryable: false })
    expect(errorOf(report)).toMatchObject({ code: 'function_not_found', message: `mailer has no function ${name}` })
    last = next
  }
})

test('arguments that cannot be read fail their job alone', async () => {
  const { fake, poll } = await serve({ greet: () => 'hi' })
  const first = await reportOf(poll, fake, 'mailer', 'greet', [], { args: new Uint8Array([1, 0xc1]) })
  expect(errorOf(first.report)).toMatchObject({ code: 'invalid_msgpack' })
  const second = await reportOf(first.next, fake, 'mailer', 'greet', [], { args: new Uint8Array([1, 0x05]) })
  expect(errorOf(second.report)).toMatchObject({ code: 'invalid_arguments' })
  expect(resultOf((await reportOf(second.next, fake, 'mailer', 'greet', [])).report)).toBe('hi')
})

test('a function has the others of its service as `this`', async () => {
  const { fake, poll } = await serve({
    name: () => 'Ada',
    greet(this: { name(): string }) {
      return `hello ${this.name()}`
    },
  })
  expect(resultOf((await reportOf(poll, fake, 'mailer', 'greet', [])).report)).toBe('hello Ada')
})

test('start keeps trying while the plane is down', async () => {
  fakeTime()
  const { fake, plane } = setup()
  fake.always(REGISTER, (asked) => asked.break())
  const started = plane.service('mailer', { functions: { greet: () => 'hi' } }).start()
  await settle()
  await pass(600_000)
  expect(fake.count(REGISTER)).toBeGreaterThan(100)
  fake.always(REGISTER, (asked) => asked.answer({ namespace: 'default' }))
  await pass(5_000)
  await started
})

test('start rejects on a refusal, and the service can be started again', async () => {
  const { fake, plane } = setup()
  const service = plane.service('mailer', { functions: { greet: () => 'hi' } })
  fake.always(REGISTER, (asked) => asked.refuse(401, 'unauthorized'))
  await expect(service.start()).rejects.toMatchObject({ code: 'unauthorized' })
  fake.always(REGISTER, (asked) => asked.respond(new Response('', { status: 404 })))
  await expect(service.start()).rejects.toMatchObject({ code: 'plane_unreachable' })
  fake.always(REGISTER, (asked) => asked.answer({ namespace: 'default' }))
  await service.start()
  await service.start()
  expect(fake.count(REGISTER)).toBe(3)
})

test('one service that is refused does not keep the others from starting', async () => {
  const { fake, plane } = setup()
  fake.always(REGISTER, (asked) => {
    if (asked.body.services?.some(({ name }) => name === 'forbidden')) asked.refuse(403, 'forbidden')
    else asked.answer({ namespace: 'default' })
  })
  const start = (name: string) => plane.service(name, { functions: { greet: () => 'hi' } }).start()
  const results = await Promise.allSettled([start('one'), start('forbidden'), start('two')])
  expect(results.map((result) => result.status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  await expect.poll(() => fake.asked.at(-1)?.body.claim?.services.map(({ name }) => name)).toEqual(['one', 'two'])
})

test('two services of one name cannot both be started', async () => {
  const { plane } = await serve({ greet: () => 'hi' })
  const twin = plane.service('mailer', { functions: { greet: () => 'ho' } })
  await expect(twin.start()).rejects.toThrow('another service named mailer is started on this Callplane')
})

test('a runner of a hundred services asks for no more jobs than a claim may bring', async () => {
  const { fake, plane } = setup()
  const names = Array.from({ length: 100 }, (_, n) => `service${n}`)
  await Promise.all(names.map((name) => plane.service(name, { functions: { run: () => 1 } }).start()))
  const last = await vi.waitUntil(() => fake.asked.findLast((asked) => asked.body.claim?.services.length === 100))
  const asked = last.body.claim?.services.reduce((sum, { capacity }) => sum + capacity, 0)
  expect(asked).toBeLessThanOrEqual(1_000)
})

test('what a newer plane sends along is no obstacle', async () => {
  const { fake, poll } = await serve({ greet: () => 'hi' })
  const { next, report } = await reportOf(poll, fake, 'mailer', 'greet', [], { newer: 1 } as object)
  expect(resultOf(report)).toBe('hi')
  next.answer({ jobs: [job('mailer', 'greet', [])], reports: [{ newer: 1 }], heartbeats: [], newer: true })
  expect((await fake.next(POLL)).body.reports?.map(resultOf)).toEqual(['hi'])
})
