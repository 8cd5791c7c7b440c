// Idle is free: while nobody writes, polls that wait, keys that are known and the sweep ask nothing of the database.
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from 'vitest'
import { inProcessBell } from '../../src/bell/in-process.ts'
import { maintain, maintainAndArm } from '../../src/http/maintenance.ts'
import { parseKey } from '../../src/protocol/keys.ts'
import { setup, type TestPlane } from '../support/plane.ts'
import { aCall, create, pollOnce, post, succeeded } from '../support/wire.ts'

const ARM_MS = 60_000
const services = [{ name: 'greeter', slots: 1, functions: [{ name: 'hello', policy: {} }] }]
const runner = '33333333-3333-4333-8333-333333333333'
let passedMs = 0

beforeEach(() => {
  passedMs = 0
  const now = performance.now.bind(performance)
  vi.spyOn(performance, 'now').mockImplementation(() => now() + passedMs)
})
afterEach(() => vi.restoreAllMocks())

/** A plane whose bell has an alarm, with a runner that has worked. */
async function worked(): Promise<TestPlane> {
  const bell = inProcessBell({ lookEveryMs: Number.POSITIVE_INFINITY, sweep: () => maintain(plane.app.plane) })
  onTestFinished(() => bell.close())
  const plane = await setup({ bell })
  await post(plane, '/v1/runners/register', { runner, services })
  await create(plane, [await aCall()])
  const [job] = (await pollOnce(plane, { runner })).jobs
  if (job === undefined) throw new Error('nothing to work on')
  await pollOnce(plane, { runner, reports: [succeeded(job, 'done')] })
  return plane
}

const wait = (plane: TestPlane) => pollOnce(plane, { runner, waitMs: 20 })

test('when the last arm has run out, one look finds nothing, and from then on nobody looks', async () => {
  const plane = await worked()
  passedMs += ARM_MS + 1_000
  plane.statements()
  await wait(plane)
  const last = plane.statements()
  expect(last.length).toBeGreaterThan(0)
  expect(last.length).toBeLessThanOrEqual(4) // the key, the look, the sweep's look, the look at the end of the wait
  for (let minute = 0; minute < 10; minute++) {
    passedMs += 60_000
    expect((await wait(plane)).jobs).toEqual([])
  }
  expect(plane.statements()).toEqual([])
  expect(await plane.app.plane.bell.isSwept()).toBe(true)
})

test('while an arm is live, every poll looks', async () => {
  const plane = await worked()
  passedMs += ARM_MS / 2
  plane.statements()
  await wait(plane)
  await wait(plane)
  expect(plane.statements().filter((text) => text.includes('with asked')).length).toBeGreaterThanOrEqual(2)
})

test('a call wakes the quiet', async () => {
  const plane = await worked()
  passedMs += ARM_MS + 1_000
  await wait(plane)
  const poll = pollOnce(plane, { runner, waitMs: 20_000 })
  const call = await aCall()
  await create(plane, [call])
  expect((await poll).jobs).toMatchObject([{ id: call.id }])
})

test('a runner of another kind looks for itself', async () => {
  const plane = await worked()
  await create(plane, [await aCall({ service: 'other' })])
  passedMs += ARM_MS + 1_000
  await wait(plane)
  await wait(plane)
  plane.statements()
  expect((await pollOnce(plane, { runner, service: 'other', waitMs: 20 })).jobs).toHaveLength(1)
})

test('a key that is revoked while all is quiet stops within a minute', async () => {
  const plane = await worked()
  const other = await plane.newKey()
  await pollOnce(plane, { runner, waitMs: 20 })
  const asks = async () => (await post(plane, '/v1/runners/poll', { runner }, other)).status
  expect(await asks()).toBe(200)
  passedMs += ARM_MS + 1_000
  await asks()
  expect(await asks()).toBe(200)
  const revoked = await post(plane, `/v1/keys/${parseKey(other)?.id}/revoke`, {})
  expect(revoked.status).toBe(200)
  passedMs += ARM_MS
  expect(await asks()).toBe(401)
})

test('what a sweep saw coming is found by polls alone when it has come, though all is quiet', async () => {
  const plane = await setup()
  await plane.sql('delete from callplane.jobs') // what the tests before have left running is coming too
  await post(plane, '/v1/runners/register', { runner, services })
  const call = await aCall({ service: 'nobody', deadlineMs: 300_000 })
  await create(plane, [call])
  passedMs += ARM_MS + 1_000
  await wait(plane)
  passedMs += 120_000
  plane.statements()
  await wait(plane)
  await wait(plane)
  expect(plane.statements()).toEqual([])
  // The clock of the database does not move with ours.
  await plane.sql(`update callplane.jobs set deadline_at = now() - interval '1 second' where namespace = $1`, [
    plane.namespace,
  ])
  passedMs += 240_000
  await wait(plane)
  const [row] = await plane.sql<{ state: string }>(`select state from callplane.jobs where namespace = $1`, [
    plane.namespace,
  ])
  expect(row?.state).toBe('failed')
})

test('a timer or a poll does not sweep while all is quiet; the alarm does, when it is time', async () => {
  const plane = await worked()
  await create(plane, [await aCall({ delayMs: 3_600_000 })])
  passedMs += ARM_MS + 1_000
  await maintainAndArm(plane.app.plane)
  expect(await plane.app.plane.bell.isSwept()).toBe(true)
  const call = await aCall()
  await create(plane, [call])
  expect(await plane.app.plane.bell.isSwept()).toBe(false)
})
