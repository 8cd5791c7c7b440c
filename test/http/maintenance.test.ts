// A sweep while the bells of some namespaces cannot be armed: it moves what the others have, and comes back for these.
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { inProcessBell } from '../../src/bell/in-process.ts'
import { maintain, maintainAndArm } from '../../src/http/maintenance.ts'
import { SqlError } from '../../src/db/sql.ts'
import { CallplaneError } from '../../src/protocol/errors.ts'
import type { JobState } from '../../src/protocol/job.ts'
import { embeddedSql, setup } from '../support/plane.ts'
import { aCall, create, pollOnce } from '../support/wire.ts'

/** A sweep that passed somebody over is wanted again within this time. */
const SOON_MS = 5_000
let passedMs = 0

beforeEach(async () => {
  passedMs = 0
  const now = performance.now.bind(performance)
  vi.spyOn(performance, 'now').mockImplementation(() => now() + passedMs)
  const sql = await embeddedSql()
  await sql('delete from callplane.jobs') // what is left of other tests would be swept too
})
afterEach(() => vi.restoreAllMocks())

/** Namespaces of one plane, whose bell refuses to be armed for some of them. */
async function namespaces(count: number) {
  const bell = inProcessBell({ lookEveryMs: Number.POSITIVE_INFINITY })
  const refusing = new Set<string>()
  const alarms: number[] = []
  const plane = await setup({
    bell: {
      ...bell,
      async arm(namespace) {
        if (refusing.has(namespace)) throw new CallplaneError('overloaded', 'the bell does not answer')
        await bell.arm(namespace)
      },
      async alarm(inMs) {
        alarms.push(inMs)
      },
    },
  })
  const one = async (number: number) => {
    const namespace = `${plane.namespace}_${number}`
    const tenant = { options: { ...plane.options, key: await plane.newKey(undefined, namespace) } }
    const state = async (): Promise<JobState | undefined> => {
      const [job] = await plane.sql<{ state: JobState }>('select state from callplane.jobs where namespace = $1', [
        namespace,
      ])
      return job?.state
    }
    return {
      namespace,
      state,
      /** A job whose runner died. */
      async stalled() {
        await create(tenant, [await aCall()])
        expect((await pollOnce(tenant)).jobs).toHaveLength(1)
        await plane.sql(
          `update callplane.jobs set lease_expires_at = now() - interval '1 second' where namespace = $1`,
          [namespace],
        )
      },
      async pastItsDeadline() {
        await create(tenant, [await aCall({ deadlineMs: 60_000 })])
        await plane.sql(`update callplane.jobs set deadline_at = now() - interval '1 second' where namespace = $1`, [
          namespace,
        ])
      },
      async justDue() {
        await create(tenant, [await aCall({ delayMs: 60_000 })])
        await plane.sql(
          `update callplane.jobs set created_at = now() - interval '1 minute', run_at = now() - interval '0.1 seconds'
          where namespace = $1`,
          [namespace],
        )
      },
      join: () => bell.join({ namespace, claimId: crypto.randomUUID(), services: ['greeter'], kind: '' }),
      refuse: () => refusing.add(namespace),
      answer: () => refusing.delete(namespace),
    }
  }
  const all = await Promise.all(Array.from({ length: count }, (_, number) => one(number)))
  /** By the clock of the process, and for delayed jobs by the database's. */
  const pass = async (ms: number) => {
    passedMs += ms
    await plane.sql(
      `update callplane.jobs set created_at = created_at - $1::int8 * interval '1 millisecond',
        run_at = run_at - $1::int8 * interval '1 millisecond'`,
      [ms],
    )
  }
  return { plane, all, alarms, pass, sweep: () => maintain(plane.app.plane) }
}

type Tenant = Awaited<ReturnType<typeof namespaces>>['all'][number]

async function two() {
  const { all, ...rest } = await namespaces(2)
  const [broken, sound] = all as [Tenant, Tenant] // as many as were asked for
  return { broken, sound, ...rest }
}

test('a bell that refuses its arm keeps its own jobs from being moved, and no others', async () => {
  const { broken, sound, sweep } = await two()
  await broken.stalled()
  await sound.stalled()
  broken.refuse()
  expect(await sweep()).toBeLessThanOrEqual(SOON_MS)
  expect([await broken.state(), await sound.state()]).toEqual(['running', 'pending'])
  await sweep()
  expect(await broken.state()).toBe('running')
  broken.answer()
  await sweep()
  expect(await broken.state()).toBe('pending')
})

test('the same where deadlines have passed', async () => {
  const { broken, sound, sweep } = await two()
  await broken.pastItsDeadline()
  await sound.pastItsDeadline()
  broken.refuse()
  await sweep()
  expect([await broken.state(), await sound.state()]).toEqual(['pending', 'failed'])
  broken.answer()
  await sweep()
  expect(await broken.state()).toBe('failed')
})

test('and where delayed jobs have become due, who waits is told once the bell can be armed', async () => {
  const { broken, sound, sweep, pass } = await two()
  await sweep()
  await broken.justDue()
  await sound.justDue()
  broken.refuse()
  const [late, early] = [await broken.join(), await sound.join()]
  await sweep()
  expect(await early.woken(0)).toMatchObject({ why: 'rung' })
  await pass(20_000)
  await sweep()
  expect(await late.woken(0)).toEqual({ why: 'time' })
  await pass(20_000)
  broken.answer()
  await sweep()
  expect(await late.woken(0)).toMatchObject({ why: 'rung' })
})

test('what became due while the database was away is told by the first sweep after it', async () => {
  const { plane, sound, sweep, pass } = await two()
  const { sql } = plane.app.plane
  await sweep()
  await sound.justDue()
  const waiter = await sound.join()
  plane.app.plane.sql = () => Promise.reject(new SqlError('gone', null))
  await expect(sweep()).rejects.toThrow('gone')
  await pass(20_000)
  await expect(sweep()).rejects.toThrow('gone')
  await pass(20_000)
  plane.app.plane.sql = sql
  await sweep()
  expect(await waiter.woken(0)).toMatchObject({ why: 'rung' })
})

test('where all refuse nothing is moved', async () => {
  const { all, sweep } = await namespaces(30)
  for (const { stalled, refuse } of all) {
    await stalled()
    refuse()
  }
  expect(await sweep()).toBeLessThanOrEqual(SOON_MS)
  for (const { state } of all) expect(await state()).toBe('running')
  for (const { answer } of all) answer()
  await sweep()
  for (const { state } of all) expect(await state()).toBe('pending')
})

test('until each has been armed, the sweep does not say that it is done, and sets the alarm', async () => {
  const { plane, broken, alarms } = await two()
  await broken.pastItsDeadline()
  broken.refuse()
  passedMs += 61_000 // no arm is live any more
  await maintainAndArm(plane.app.plane)
  expect(await plane.app.plane.bell.isSwept()).toBe(false)
  expect(alarms.at(-1)).toBeLessThanOrEqual(SOON_MS)
  broken.answer()
  await maintainAndArm(plane.app.plane)
  expect(await broken.state()).toBe('failed')
  passedMs += 61_000
  await maintainAndArm(plane.app.plane)
  expect(await plane.app.plane.bell.isSwept()).toBe(true)
})

test('who was passed over is logged once a sweep, and counted', async () => {
  const { plane, all, sweep } = await namespaces(3)
  for (const { stalled } of all) await stalled()
  all[0]?.refuse()
  all[1]?.refuse()
  await sweep()
  expect(plane.logged.filter(({ level }) => level === 'error')).toEqual([
    {
      level: 'error',
      event: 'sweep_passed_over',
      namespaces: 2,
      namespace: all[0]?.namespace,
      detail: expect.stringContaining('the bell does not answer'),
    },
  ])
  expect(plane.app.plane.metrics.text()).toContain('callplane_namespaces_passed_over_total 2\n')
  await sweep()
  expect(plane.app.plane.metrics.text()).toContain('callplane_namespaces_passed_over_total 4\n')
})
