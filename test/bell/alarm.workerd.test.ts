// The alarm in workerd: a Durable Object's, on disk. With it or with the cron trigger alone, what time brings about happens.
import { env, exports } from 'cloudflare:workers'
import { runInDurableObject } from 'cloudflare:test'
import { expect, onTestFinished, test } from 'vitest'
import type { CallRequest } from '../../src/protocol/calls.ts'
import { aCall, create, pollOnce, post } from '../support/wire.ts'
import { setup, sql, type WorkerHost } from '../support/worker.ts'

const RUNNER = '22222222-2222-4222-8222-222222222222'
const alarmObject = () => env.BELL.getByName(':alarm')

/** A job of a runner that died at once. */
async function stalled({ leaseMs }: { leaseMs: number }) {
  const plane = await setup()
  const functions = [{ name: 'hello', policy: { leaseMs } }]
  await post(plane, '/v1/runners/register', { runner: RUNNER, services: [{ name: 'greeter', slots: 1, functions }] })
  const { id } = await called(plane)
  const poll = (waitMs: number) => taken(plane, waitMs)
  expect(await poll(0)).toEqual([{ id, attempt: 1 }])
  return { id, poll }
}

async function called(plane: WorkerHost, options: Partial<CallRequest> = {}): Promise<CallRequest> {
  const call = await aCall(options)
  await create(plane, [call])
  onTestFinished(async () => {
    await post(plane, '/v1/calls/cancel', { ids: [call.id] }) // else it would go on stalling under the tests that follow
  })
  return call
}

async function taken(plane: WorkerHost, waitMs: number) {
  const { jobs } = await pollOnce(plane, { runner: RUNNER, waitMs })
  return jobs.map(({ id, attempt }) => ({ id, attempt }))
}

// The first: an alarm that another test has set for its own lease would see this call coming.
test('a delayed call reaches a runner that waits at its time, or a second on, by the alarm alone', async () => {
  const plane = await setup()
  expect(await taken(plane, 0)).toEqual([]) // from now on polls do not sweep for ten seconds
  const polled = taken(plane, 20_000)
  const bell = env.BELL.getByName(plane.namespace)
  const waiting = () => runInDurableObject(bell, (_, state) => state.getWebSockets().length)
  await expect.poll(waiting, { timeout: 10_000 }).toBe(1)
  const { id } = await called(plane, { delayMs: 1_500 })
  expect(await polled).toEqual([{ id, attempt: 1 }])
  const [job] = await sql<{ late_ms: number }>(
    `select (extract(epoch from started_at - run_at) * 1000)::int8 as late_ms from callplane.jobs where id = $1::uuid`,
    [id],
  )
  expect(job?.late_ms).toBeGreaterThanOrEqual(0)
  expect(job?.late_ms).toBeLessThan(2_500)
})

test('the alarm alone: set with the claim, it rings by itself', async () => {
  const { id, poll } = await stalled({ leaseMs: 1_000 })
  const beganMs = Date.now()
  expect(await poll(20_000)).toEqual([{ id, attempt: 2 }])
  // Polls sweep too, but not this one: its isolate has swept within ten seconds.
  expect(Date.now() - beganMs).toBeLessThan(4_000)
})

test('the cron trigger alone, with the alarm dead', async () => {
  const { id, poll } = await stalled({ leaseMs: 10_000 })
  await runInDurableObject(alarmObject(), (_, state) => state.storage.deleteAlarm())
  await sql(`update callplane.jobs set lease_expires_at = now() - interval '1 second' where id = $1::uuid`, [id])
  expect(await poll(0)).toEqual([])
  const controller = { scheduledTime: Date.now(), cron: '* * * * *', noRetry() {} }
  await exports.default.scheduled(controller)
  expect(await poll(0)).toEqual([{ id, attempt: 2 }])
})

test('an alarm that is set for sooner stays', async () => {
  const stub = alarmObject()
  const at = () => runInDurableObject(stub, (_, state) => state.storage.getAlarm())
  await runInDurableObject(stub, (_, state) => state.storage.deleteAlarm())
  await stub.alarmBy(60_000)
  const first = await at()
  await stub.alarmBy(120_000)
  expect(await at()).toBe(first)
  await stub.alarmBy(30_000)
  expect(await at()).toBeLessThan(Number(first))
})
