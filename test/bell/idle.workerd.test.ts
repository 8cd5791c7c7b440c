// Idle in workerd: once nobody writes, polls, the cron trigger and known keys ask nothing of the database.
import { env, exports } from 'cloudflare:workers'
import { evictDurableObject, runInDurableObject } from 'cloudflare:test'
import { expect, onTestFinished, test } from 'vitest'
import { aCall, create, pollOnce, post } from '../support/wire.ts'
import { setup } from '../support/worker.ts'

const RUNNER = '22222222-2222-4222-8222-222222222222'

async function connected() {
  const plane = await setup()
  const poll = async (waitMs = 50) => (await pollOnce(plane, { runner: RUNNER, waitMs })).jobs.map(({ id }) => id)
  const made: string[] = []
  const call = async () => {
    const one = await aCall()
    await create(plane, [one])
    made.push(one.id)
    return one.id
  }
  const functions = [{ name: 'hello', policy: {} }]
  await post(plane, '/v1/runners/register', { runner: RUNNER, services: [{ name: 'greeter', slots: 1, functions }] })
  onTestFinished(async () => {
    if (made.length > 0) await post(plane, '/v1/calls/cancel', { ids: made }) // their leases are nobody's
  })
  const bell = env.BELL.getByName(plane.namespace)
  return { poll, call, bell, bells: [bell, env.BELL.getByName(':alarm')] }
}

/** A waiter does not wait until the object has heard what its look found. */
const untilTold = (bell: object): Promise<void> =>
  eventually(() => runInDurableObject(bell, (_, { storage }) => storage.get('nothing'))).toBeDefined()

const untilWaiting = (bell: object, polls: number): Promise<void> =>
  eventually(() => runInDurableObject(bell, (_, state) => state.getWebSockets().length)).toBe(polls)

const eventually = <T>(get: () => Promise<T>) => expect.poll(get, { timeout: 10_000 })

/** The last arms run out, and the objects are evicted: what they know is what is on disk. */
async function minutePasses(bells: object[]): Promise<void> {
  for (const bell of bells) {
    await runInDurableObject(bell, (_, { storage }) => storage.put('armedUntilMs', Date.now() - 10))
    await evictDurableObject(bell)
  }
}

const statements = async () => Number(await (await fetch(env.STATEMENTS_URL)).text())
const cron = () => exports.default.scheduled({ scheduledTime: Date.now(), cron: '* * * * *', noRetry() {} })

test('one look after the last arm, and from then on none, though the objects are evicted between polls', async () => {
  const { poll, bell, bells } = await connected()
  await minutePasses(bells)
  await cron()
  expect(await poll()).toEqual([])
  await untilTold(bell)
  const before = await statements()
  for (let minute = 0; minute < 5; minute++) {
    for (const each of bells) await evictDurableObject(each)
    expect(await poll()).toEqual([])
    await cron()
  }
  expect((await statements()) - before).toBe(0)
})

test('a call wakes the quiet', async () => {
  const { poll, call, bell, bells } = await connected()
  await minutePasses(bells)
  await poll()
  await untilTold(bell)
  await poll()
  await untilWaiting(bell, 0)
  const woken = poll(10_000)
  await untilWaiting(bell, 1) // else it would find the call anyway
  const id = await call()
  expect(await woken).toEqual([id])
})

test('what was found before an arm is not believed after it', async () => {
  const { poll, call, bell, bells } = await connected()
  await minutePasses(bells)
  await poll()
  await untilTold(bell)
  // A writer that dies between its commit and its ring has armed the bell.
  await bell.arm()
  const id = await call()
  expect(await poll()).toEqual([id])
})
