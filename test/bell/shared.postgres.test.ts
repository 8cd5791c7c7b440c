// The bell of several processes over one Postgres: what one writes, the waiters of the others hear.
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import type { Wake } from '../../src/bell/bell.ts'
import { inProcessBell } from '../../src/bell/in-process.ts'
import { notifyChannel } from '../../src/bell/notify.ts'
import { sharedBell, type Channel } from '../../src/bell/shared.ts'
import { pgSql, type PgDatabase } from '../../src/db/pg.ts'
import { freshDatabase } from '../support/fresh-database.ts'

const LONG_MS = 20_000
let url: string
let database: PgDatabase

beforeAll(async () => {
  url = await freshDatabase()
  database = pgSql({ connectionString: url })
}, 60_000)
afterAll(() => database.close())

/** A process's bell; `channel` lets a test come between. */
function process(change: (channel: Channel) => Channel = (channel) => channel) {
  const sent: string[] = []
  const real = notifyChannel(database)
  const channel: Channel = change({
    ...real,
    send: (text) => {
      sent.push(text)
      return real.send(text)
    },
  })
  const bell = sharedBell(inProcessBell({ lookEveryMs: Number.POSITIVE_INFINITY }), channel)
  onTestFinished(() => bell.close())
  const hears = () => expect.poll(() => bell.lookEveryMs, { timeout: 10_000 }).toBe(Number.POSITIVE_INFINITY)
  return { bell, sent, hears, rings: () => sent.filter((text) => text.includes('"rings"')) }
}

const runner = (services = ['s']) => ({ namespace: 'n', claimId: crypto.randomUUID(), services, kind: services.join() })
const due = (service = 's', jobs = 1) => ({ namespace: 'n', due: [{ service, jobs }] })

/** Waits without the looks that the start or the loss of a connection asks for. */
async function settled(join: () => ReturnType<ReturnType<typeof process>['bell']['join']>) {
  const waiter = await join()
  await new Promise((resolve) => setTimeout(resolve, 50)) // the hello of the newest has come round
  await waiter.woken(0)
  return waiter
}

test('a job that one process makes wakes a runner that waits at another', async () => {
  const [a, b] = [process(), process()]
  await Promise.all([a.hears(), b.hears()])
  const waiter = await settled(() => b.bell.join(runner()))
  const beganMs = performance.now()
  const woken = waiter.woken(LONG_MS)
  await a.bell.ring(due())
  expect(await woken).toEqual({ why: 'rung', ended: [] })
  expect(performance.now() - beganMs).toBeLessThan(1_000)
})

test('the end of a call wakes its caller at another process, and nobody else', async () => {
  const [a, b] = [process(), process()]
  await Promise.all([a.hears(), b.hears()])
  const [id, other] = [crypto.randomUUID(), crypto.randomUUID()]
  const waits = [
    (await settled(() => b.bell.join({ namespace: 'n', calls: [id] }))).woken(LONG_MS),
    (await settled(() => b.bell.join({ namespace: 'n', calls: [other] }))).woken(300),
  ]
  await a.bell.ring({ namespace: 'n', ended: [{ id, outcome: null }] })
  const wakes: Wake[] = await Promise.all(waits)
  expect(wakes).toEqual([{ why: 'rung', ended: [{ id, outcome: null }] }, { why: 'time' }])
})

test('many ends at once reach their caller, in texts that Postgres takes', async () => {
  const [a, b] = [process(), process()]
  await Promise.all([a.hears(), b.hears()])
  const ids = Array.from({ length: 900 }, () => crypto.randomUUID())
  const waiter = await settled(() => b.bell.join({ namespace: 'n', calls: ids }))
  await a.bell.ring({ namespace: 'n', ended: ids.map((id) => ({ id, outcome: null })) })
  const heard = new Set<string>()
  while (heard.size < ids.length) {
    const wake = await waiter.woken(LONG_MS)
    if (wake.why !== 'rung') throw new Error(`only ${heard.size} were heard of`)
    for (const { id } of wake.ended) heard.add(id)
  }
  expect(Math.max(...a.sent.map((text) => text.length))).toBeLessThan(7_999)
  // Of more than a thousand it is only said that there is something to look for.
  await a.bell.ring({ namespace: 'n', ended: [...ids, ...ids].map((id) => ({ id, outcome: null })) })
  expect(await waiter.woken(LONG_MS)).toEqual({ why: 'rung', ended: [] })
})

test('a process that is alone sends nothing but its hello', async () => {
  const a = process()
  await a.hears()
  for (let n = 0; n < 50; n++) await a.bell.ring(due())
  await new Promise((resolve) => setTimeout(resolve, 100)) // a text would be on its way by now
  expect(a.rings()).toEqual([])
  const b = process()
  await b.hears()
  await expect
    .poll(async () => {
      await a.bell.ring(due())
      return a.rings().length
    })
    .toBeGreaterThan(0)
})

test('rings that come while one is on its way share the next', async () => {
  const [a, b] = [process(), process()]
  await Promise.all([a.hears(), b.hears()])
  await settled(() => b.bell.join(runner()))
  for (let n = 0; n < 500; n++) void a.bell.ring(due())
  await expect.poll(() => a.rings().length).toBeGreaterThan(0)
  await new Promise((resolve) => setTimeout(resolve, 200))
  expect(a.rings().length).toBeLessThan(50)
  const jobs = a.rings().flatMap((text) => (JSON.parse(text) as { rings: [string, [string, number][]][] }).rings)
  expect(jobs.flatMap(([, of]) => of.map(([, count]) => count)).reduce((sum, count) => sum + count, 0)).toBe(500)
})

test('who loses the connection looks, looks often until it hears again, and then hears', async () => {
  const [a, b] = [process(), process()]
  await Promise.all([a.hears(), b.hears()])
  const waiter = await settled(() => b.bell.join(runner()))
  const woken = waiter.woken(LONG_MS)
  await database.sql(`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'callplane bell'`)
  expect(await woken).toEqual({ why: 'rung', ended: [] })
  expect(b.bell.lookEveryMs).toBe(500)
  waiter.leave()
  await Promise.all([a.hears(), b.hears()])
  const again = (await settled(() => b.bell.join(runner()))).woken(LONG_MS)
  await a.bell.ring(due())
  expect((await again).why).toBe('rung')
})

test('where no NOTIFY arrives, polls look for themselves', async () => {
  const a = process((channel) => ({ ...channel, listen: () => Promise.reject(new Error('no such thing')) }))
  const waiter = await a.bell.join(runner())
  expect((await waiter.woken(LONG_MS)).why).toBe('rung')
  expect(a.bell.lookEveryMs).toBe(500)
})
