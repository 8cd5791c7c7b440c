// The bell on Cloudflare: real sockets to a real Durable Object, evicted between joining and ringing.
import { env } from 'cloudflare:workers'
import { evictDurableObject, runInDurableObject } from 'cloudflare:test'
import { expect, onTestFinished, test, vi } from 'vitest'
import type { Bell } from '../../src/bell/bell.ts'
import { durableObjectBell } from '../../src/bell/durable-object.workerd.ts'
import type { BellFailure } from '../../src/bell/failures.ts'
import type { CallOutcome } from '../../src/protocol/job.ts'
import { SleepingBell } from '../../src/bell/sleeping-bell.workerd.ts'
import { aCall, post } from '../support/wire.ts'
import { setup as setupWorker } from '../support/worker.ts'

const LONG_MS = 5_000
let tests = 0

function setup() {
  const namespace = `bell_${tests++}`
  const bell: Bell = durableObjectBell(env.BELL)
  const runner = (services = ['s'], claimId: string = crypto.randomUUID()) =>
    bell.join({ namespace, claimId, services, kind: services.join() })
  const caller = (...calls: string[]) => bell.join({ namespace, calls })
  const due = (service: string, jobs = 1) => bell.ring({ namespace, due: [{ service, jobs }] })
  const end = (id: string) => bell.ring({ namespace, ended: [{ id, outcome: null }] })
  return { bell, namespace, runner, caller, due, end }
}

test('a ring wakes who waits, and one that came before the wait is kept', async () => {
  const { runner, due } = setup()
  const waiter = await runner()
  const woken = waiter.woken(LONG_MS)
  await due('s')
  expect(await woken).toMatchObject({ why: 'rung' })
  const early = await runner()
  await due('s')
  expect(await early.woken(LONG_MS)).toMatchObject({ why: 'rung' })
})

test('as many wake as there are jobs', async () => {
  const { runner, due } = setup()
  const waits = [await runner(), await runner(), await runner()].map((waiter) => waiter.woken(1_000))
  await due('s', 2)
  expect((await Promise.all(waits)).map(({ why }) => why).toSorted()).toEqual(['rung', 'rung', 'time'])
})

test('callers hear of their own calls alone', async () => {
  const { caller, end } = setup()
  const [a, b] = [crypto.randomUUID(), crypto.randomUUID()]
  const waits = [await caller(a, b), await caller(b)].map((waiter) => waiter.woken(1_000))
  await end(a)
  expect((await Promise.all(waits)).map(({ why }) => why)).toEqual(['rung', 'time'])
})

test('a small outcome comes with its ring; for a large one, and for one that nobody said, the caller looks', async () => {
  const { bell, namespace, caller } = setup()
  const [small, large, unsaid] = [crypto.randomUUID(), crypto.randomUUID(), crypto.randomUUID()]
  const outcomeOf = (bytes: number) => ({ ended: 'succeeded' as const, result: new Uint8Array(bytes).fill(7) })
  const heardOf = async (id: string, outcome: CallOutcome | null) => {
    const woken = (await caller(id)).woken(LONG_MS)
    await bell.ring({ namespace, ended: [{ id, outcome }] })
    return woken
  }
  expect(await heardOf(small, outcomeOf(1_000))).toEqual({
    why: 'rung',
    ended: [{ id: small, outcome: outcomeOf(1_000) }],
  })
  expect(await heardOf(large, outcomeOf(20_000))).toEqual({ why: 'rung', ended: [] })
  expect(await heardOf(unsaid, null)).toEqual({ why: 'rung', ended: [] })
})

test('outcomes that came before the wait are all kept', async () => {
  const { bell, namespace, caller } = setup()
  const ids = [crypto.randomUUID(), crypto.randomUUID()]
  const waiter = await caller(...ids)
  const outcome = { ended: 'cancelled' as const, message: 'no' }
  for (const id of ids) await bell.ring({ namespace, ended: [{ id, outcome }] })
  const heard: string[] = []
  while (heard.length < 2) {
    const wake = await waiter.woken(LONG_MS)
    if (wake.why !== 'rung') throw new Error(`heard of ${heard.length} only`)
    heard.push(...wake.ended.map(({ id }) => id))
  }
  expect(heard).toEqual(ids)
})

test('the same claim id again takes the place of the first', async () => {
  const { runner, due } = setup()
  const claimId = crypto.randomUUID()
  const woken = (await runner(['s'], claimId)).woken(LONG_MS)
  const second = await runner(['s'], claimId)
  expect(await woken).toEqual({ why: 'replaced' })
  await due('s')
  expect(await second.woken(LONG_MS)).toMatchObject({ why: 'rung' })
})

test('a ring passes on from a socket that hangs, and from the next, a second each', async () => {
  const { runner, due } = setup()
  const waits = [await runner(), await runner(), await runner()].map((waiter) => waiter.woken(LONG_MS))
  const beganMs = performance.now()
  await due('s')
  const wokenAfterS = await Promise.all(
    waits.map(async (wait) => {
      expect(await wait).toMatchObject({ why: 'rung' })
      return Math.round((performance.now() - beganMs) / 1_000)
    }),
  )
  expect(wokenAfterS.toSorted((a, b) => a - b)).toEqual([0, 1, 2])
})

test('a ring stays with who looks, and finds nothing or leaves with jobs', async () => {
  const { runner, due } = setup()
  const claimIds = [crypto.randomUUID(), crypto.randomUUID()]
  const rung = await Promise.all(claimIds.map((claimId) => runner(['s'], claimId)))
  await due('s', 2)
  const [found, nothing] = await Promise.all(
    rung.map(async (waiter, index) => {
      expect(await waiter.woken(LONG_MS)).toMatchObject({ why: 'rung' })
      waiter.leave()
      return runner(['s'], claimIds[index])
    }),
  )
  found?.leave()
  nothing?.foundNothing()
  expect(await (await runner()).woken(2_000)).toEqual({ why: 'time' })
})

test('a ring passes on from a look whose isolate died', async () => {
  const { runner, due, namespace } = setup()
  const claimId = crypto.randomUUID()
  const first = await runner(['s'], claimId)
  await due('s')
  await first.woken(LONG_MS)
  await runner(['s'], claimId)
  const other = (await runner()).woken(LONG_MS)
  // As the runtime tells of a connection that broke: a real one would have to be cut.
  const broken = { deserializeAttachment: () => ({ claimId, services: ['s'], kind: 's' }), close() {} }
  await runInDurableObject(env.BELL.getByName(namespace), (bell) =>
    (bell as SleepingBell<object>).webSocketClose(broken as never, 1006, '', false),
  )
  expect(await other).toMatchObject({ why: 'rung' })
})

test('an evicted object wakes its waiters all the same', async () => {
  const { runner, due, namespace } = setup()
  const waiter = await runner()
  await evictDurableObject(env.BELL.getByName(namespace))
  const woken = waiter.woken(LONG_MS)
  await due('s')
  expect(await woken).toMatchObject({ why: 'rung' })
})

/** The object refuses the next so many requests of the kind, as one on Cloudflare that has too much to do. */
function overload(method: 'arm' | 'isQuietSince' | 'ring' | 'alarmBy', { times }: { times: number }): void {
  const refuse = () => Promise.reject(Object.assign(new Error('Durable Object is overloaded'), { overloaded: true }))
  const spy = vi.spyOn(SleepingBell.prototype, method)
  for (let n = 0; n < times; n++) spy.mockImplementationOnce(refuse)
  onTestFinished(() => spy.mockRestore())
}

test('a ring that meets an overloaded object is heard a moment later', async () => {
  const { runner, due, caller, end } = setup()
  const call = crypto.randomUUID()
  const waits = [await runner(), await caller(call)].map((waiter) => waiter.woken(LONG_MS))
  overload('ring', { times: 2 })
  await Promise.all([due('s'), end(call)])
  expect((await Promise.all(waits)).map(({ why }) => why)).toEqual(['rung', 'rung'])
})

test('a ring that is heard by nobody does not fail its writer, or hold it for longer than a second', async () => {
  const { runner, due } = setup()
  const waiter = await runner()
  overload('ring', { times: 100 })
  const beganMs = performance.now()
  await due('s')
  expect(performance.now() - beganMs).toBeLessThan(2_000)
  expect(await waiter.woken(0)).toEqual({ why: 'time' })
})

test('an overloaded bell is told of once a minute, with how often it was, and apart from one that fails otherwise', async () => {
  let passedMs = 0
  const now = Date.now.bind(Date)
  const clock = vi.spyOn(Date, 'now').mockImplementation(() => now() + passedMs)
  onTestFinished(() => clock.mockRestore())
  const told: BellFailure[] = []
  const bell = durableObjectBell(env.BELL, { onFailure: (failure) => told.push(failure) })
  const refuse = async (namespace: string) => {
    overload('isQuietSince', { times: 1 })
    expect(await bell.isQuietSince(namespace, 0)).toBe(false)
  }
  for (const namespace of ['first', 'second', 'third']) await refuse(namespace)
  const isOverloaded = { isOverloaded: true, detail: expect.stringContaining('Durable Object is overloaded') }
  expect(told).toEqual([{ namespace: 'first', failures: 1, ...isOverloaded }])
  vi.spyOn(SleepingBell.prototype, 'isSwept').mockRejectedValueOnce(new Error('the object has moved'))
  expect(await bell.isSwept()).toBe(false)
  expect(told.splice(1)).toMatchObject([{ namespace: null, failures: 1, isOverloaded: false }])
  passedMs = 60_001
  await refuse('fourth')
  expect(told.splice(1)).toEqual([{ namespace: 'fourth', failures: 3, ...isOverloaded }])
})

test('the Worker logs that a bell is overloaded, and the request is refused', async () => {
  const plane = await setupWorker()
  const log = vi.spyOn(console, 'log').mockImplementation(() => {})
  onTestFinished(() => log.mockRestore())
  overload('arm', { times: 2 }) // the namespace's, and the one that keeps the alarm
  expect((await post(plane, '/v1/calls', { calls: [await aCall()] })).status).toBe(503)
  const lines = log.mock.calls.map(([line]) => JSON.parse(String(line)) as object)
  expect(lines).toMatchObject([{ level: 'error', event: 'bell_overloaded', failures: 1 }])
})

test('an alarm that meets an overloaded object is set a moment later', async () => {
  const { bell } = setup()
  const alarmAt = () => runInDurableObject(env.BELL.getByName(':alarm'), (_, { storage }) => storage.getAlarm())
  await runInDurableObject(env.BELL.getByName(':alarm'), (_, { storage }) => storage.deleteAlarm())
  overload('alarmBy', { times: 2 })
  await bell.alarm(3_600_000)
  expect(await alarmAt()).not.toBeNull()
})

test('a look that found nothing lets the next poll wait first, until a ring finds nobody or the object is evicted', async () => {
  const { namespace, runner, due } = setup()
  const joinsCalm = async (claimId?: string) => {
    const waiter = await runner(['s'], claimId)
    waiter.leave()
    return waiter.isCalm
  }
  // Of a look that began in the same tick of the clock as the ring, nobody knows which was first: another is due.
  const looks = () =>
    expect
      .poll(async () => {
        const waiter = await runner()
        waiter.foundNothing()
        waiter.leave()
        return joinsCalm()
      })
      .toBe(true)
  expect(await joinsCalm()).toBe(false)
  await looks()
  const claimId = crypto.randomUUID()
  expect([await joinsCalm(claimId), await joinsCalm(claimId)]).toEqual([true, false])
  await due('s', 100)
  expect(await joinsCalm()).toBe(false)
  await looks()
  await evictDurableObject(env.BELL.getByName(namespace))
  expect(await joinsCalm()).toBe(false)
})
