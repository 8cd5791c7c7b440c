// The ends of services and planes: what runs finishes, what it gave is delivered, and then nothing is left.
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test, vi } from 'vitest'
import { decodePayload } from '../../src/protocol/codec.ts'
import {
  CREATE,
  fakeTime,
  job,
  LEAVE,
  pass,
  POLL,
  REGISTER,
  serve,
  settle,
  setup,
  TIME_OVER,
  WAIT,
} from './fake-plane.ts'

const isDone = async (promise: Promise<unknown>) => (await Promise.race([promise.then(() => true), settle()])) === true

test('a stop asks once more, under the same claim, what the hanging poll may have been given, and runs it', async () => {
  const { fake, service, poll } = await serve({ greet: () => 'hi' })
  const stopped = service.stop()
  const settling = await fake.next(POLL)
  expect(settling.body.claim).toMatchObject({ id: poll.body.claim?.id, waitMs: 0 })
  expect(settling.body.claim?.services).toMatchObject([
    { name: 'mailer', functions: [expect.stringMatching(/^_\w{32}$/)] },
  ])
  settling.deliver([job('mailer', 'greet', [])])
  // The hanging one is cut off: what it was given in this very moment is asked for once more, and the result rides along.
  const last = await fake.next(POLL)
  expect(poll.isAborted).toBe(true)
  expect(last.body.claim).toMatchObject({ id: poll.body.claim?.id, waitMs: 0 })
  const given = job('mailer', 'greet', [])
  last.deliver([given])
  const reports = [...(last.body.reports ?? [])]
  while (reports.length < 2) {
    const report = await fake.next(POLL)
    expect(report.body.claim).toBeUndefined()
    expect(fake.count(LEAVE)).toBe(0)
    expect(await isDone(stopped)).toBe(false)
    reports.push(...(report.body.reports ?? []))
    report.deliver([])
  }
  expect(reports).toMatchObject([{ ended: 'succeeded' }, { ended: 'succeeded', id: given.id }])
  await stopped
  expect(fake.count(LEAVE)).toBe(1)
})

test('jobs that the hanging poll brings after all are run too', async () => {
  const { fake, service, poll } = await serve({ greet: () => 'hi' })
  const stopped = service.stop()
  const settling = await fake.next(POLL)
  poll.deliver([job('mailer', 'greet', [])])
  expect((await fake.next(POLL)).body.reports?.length).toBe(1)
  settling.deliver([])
  expect(await isDone(stopped)).toBe(false)
})

test('a stop lets running functions finish, and delivers their results', async () => {
  const gate = Promise.withResolvers<string>()
  const { fake, service, poll } = await serve({ wait: () => gate.promise })
  poll.deliver([job('mailer', 'wait', [])])
  await fake.next(POLL)
  const stopped = service.stop()
  ;(await fake.next(POLL)).deliver([])
  ;(await fake.next(POLL)).deliver([]) // what the hanging poll may have been given
  expect(await isDone(stopped)).toBe(false)
  gate.resolve('done')
  const report = await fake.next(POLL)
  expect(report.body.reports?.map((one) => ('result' in one ? decodePayload(one.result) : null))).toEqual(['done'])
  report.deliver([])
  await stopped
})

test('while one service stops, the others go on', async () => {
  const { fake, plane, service, poll } = await serve({ greet: () => 'hi' })
  await plane.service('other', { functions: { run: () => 1 } }).start()
  const both = await fake.next(POLL)
  poll.deliver([])
  const stopped = service.stop()
  const settling = await fake.next(POLL)
  expect(settling.body.claim).toMatchObject({ id: both.body.claim?.id, waitMs: 0, services: [{ name: 'other' }] })
  settling.deliver([])
  ;(await fake.next(POLL)).deliver([]) // what the hanging poll may have been given
  await stopped
  const next = await fake.next(POLL)
  expect(next.body.claim?.services).toMatchObject([{ name: 'other', functions: ['run'] }])
  expect(next.body.claim?.waitMs).toBeGreaterThan(20_000)
  expect(fake.count(LEAVE)).toBe(0)
  expect(fake.asked.findLast(({ path }) => path === REGISTER)?.body.services?.map(({ name }) => name)).toEqual([
    'other',
  ])
})

test('a stop does not wait for a service that is still starting', async () => {
  fakeTime()
  const { fake, plane, service } = await serve({ greet: () => 'hi' })
  fake.always(REGISTER, (asked) => asked.break())
  fake.always(POLL, (asked) => asked.deliver([]))
  void plane.service('other', { functions: { run: () => 1 } }).start()
  await pass(1_000)
  const stopped = service.stop()
  await settle()
  expect(await isDone(stopped)).toBe(true)
  // The runner does not say that it goes: it is about to come.
  expect(fake.count(LEAVE)).toBe(0)
})

test('a stop may be asked for twice, and the service started again', async () => {
  const { fake, service } = await serve({ greet: () => 'hi' })
  fake.always(POLL, (asked) => void (asked.body.claim?.waitMs === 0 && asked.deliver([])))
  const stopped = service.stop()
  expect(service.stop()).toBe(stopped)
  const started = service.start()
  await stopped
  await started
  await settle()
  expect(fake.asked.at(-1)?.body.claim?.services).toMatchObject([{ name: 'mailer', functions: ['greet'] }])
  await service.stop()
  await service.stop()
})

test('a stop during the start ends it', async () => {
  const { fake, plane } = setup()
  const service = plane.service('mailer', { functions: { greet: () => 'hi' } })
  const asked = fake.next(REGISTER)
  const started = service.start()
  await asked
  await service.stop()
  await expect(started).rejects.toMatchObject({ code: 'closed' })
  ;(await asked).answer({ namespace: 'default' })
  await settle()
  expect(fake.count(POLL)).toBe(0)
  await service.start()
  expect(fake.count(REGISTER)).toBe(2)
})

test('while the plane is away, a stop tries to deliver for half a minute, and then gives up', async () => {
  fakeTime()
  const { fake, service, poll } = await serve({ greet: () => 'hi' })
  fake.always(POLL, (asked) => asked.break())
  poll.deliver([job('mailer', 'greet', [])])
  await pass(100)
  const stopped = service.stop()
  await pass(29_000)
  expect(await isDone(stopped)).toBe(false)
  await pass(2_000)
  expect(await isDone(stopped)).toBe(true)
  const polls = fake.count(POLL)
  await pass(60_000)
  expect(fake.count(POLL)).toBe(polls)
  expect(vi.getTimerCount()).toBe(0)
})

test('close stops the services, then rejects what still waits, and everything after it', async () => {
  const { fake, plane, service, poll } = await serve({ greet: () => 'hi' })
  const mail = plane.client<typeof service>('mailer')
  const waiting = mail.greet()
  const create = await fake.next(CREATE)
  create.frames(create.accepted(), TIME_OVER)
  await fake.next(WAIT)
  const unsent = mail.greet.start()
  const closing = plane.close()
  const settling = await fake.next(POLL)
  expect(await Promise.race([waiting, 'waits'])).toBe('waits')
  settling.deliver([])
  ;(await fake.next(POLL)).deliver([]) // what the hanging poll may have been given
  expect(plane.close()).toBe(closing)
  await closing
  expect(poll.isAborted).toBe(true)
  for (const promise of [
    waiting,
    unsent,
    mail.greet(),
    mail.greet.start(),
    mail.greet.batch([[]]),
    plane.call(create.ids[0] ?? '').result(),
    plane.call(create.ids[0] ?? '').status(),
    plane.call(create.ids[0] ?? '').cancel(),
    service.start(),
  ]) {
    await expect(promise).rejects.toMatchObject({ code: 'closed' })
  }
  await service.stop()
  for (const { path, isAborted } of fake.asked) if (path === WAIT) expect(isAborted).toBe(true)
})

test('what waits for the plane to come back is rejected by close', async () => {
  fakeTime()
  const { fake, plane } = setup()
  fake.always(CREATE, (asked) => asked.break())
  const client = plane.client('mailer')
  const started = client['greet']?.start()
  const batch = client['greet']?.batch([[]])
  const status = plane.call('01a1ff7d-677e-76ed-826b-4d004ed1c8f7').status()
  ;(await fake.next('/v1/calls/01a1ff7d-677e-76ed-826b-4d004ed1c8f7')).break()
  await pass(60_000)
  await plane.close()
  await expect(started).rejects.toMatchObject({ code: 'closed' })
  expect(await batch).toMatchObject([{ code: 'closed' }])
  await expect(status).rejects.toMatchObject({ code: 'closed' })
})

test('a function that still runs may go on calling others while its plane closes', async () => {
  const { fake, plane, poll } = await serve({
    outer: async (): Promise<unknown> => {
      await gate.promise
      return plane.client('other')['inner']?.()
    },
  })
  const gate = Promise.withResolvers<void>()
  poll.deliver([job('mailer', 'outer', [])])
  await fake.next(POLL)
  const closing = plane.close()
  ;(await fake.next(POLL)).deliver([])
  ;(await fake.next(POLL)).deliver([]) // what the hanging poll may have been given
  await expect(plane.client('other')['inner']?.()).rejects.toMatchObject({ code: 'closed' })
  gate.resolve()
  ;(await fake.next(CREATE)).succeed(() => 'from within')
  const report = await fake.next(POLL)
  expect(report.body.reports?.map((one) => ('result' in one ? decodePayload(one.result) : null))).toEqual([
    'from within',
  ])
  report.deliver([])
  await closing
})

test('after close, and while nothing waits, no timer is left', async () => {
  fakeTime()
  const { fake, plane, service } = await serve({ greet: () => 'hi' })
  fake.always(CREATE, (asked) => asked.break())
  fake.always(WAIT, (asked) => asked.break())
  const mail = plane.client<typeof service>('mailer')
  void mail.greet()
  void plane.call('01a1ff7d-677e-76ed-826b-4d004ed1c8f7').result()
  void plane.call('01a1ff7d-677e-76ed-826b-4d004ed1c8f7').cancel()
  await pass(500)
  fake.always(POLL, (asked) => asked.deliver([]))
  await plane.close()
  await settle()
  expect(vi.getTimerCount()).toBe(0)
})

test('a process that has closed its plane, or only made calls, ends by itself', async () => {
  const file = fileURLToPath(new URL('fixtures/ends.ts', import.meta.url))
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [file], { timeout: 20_000 })
  expect(stderr).toBe('')
  expect(stdout.trim()).toBe('called and closed')
})
