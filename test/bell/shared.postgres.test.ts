// The bell of several processes over one Postgres: what one writes, the waiters of the others hear.
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import type { Wake } from '../../src/bell/bell.ts'
import { inProcessBell } from '../../src/bell/in-process.ts'
import type { Message } from '../../src/bell/messages.ts'
import { notifyChannel } from '../../src/bell/notify.ts'
import { sharedBell, type Channel } from '../../src/bell/shared.ts'
import { pgSql, type PgDatabase } from '../../src/db/pg.ts'
import { SqlError } from '../../src/db/sql.ts'
import { freshDatabase } from '../support/fresh-database.ts'

const LONG_MS = 20_000
let url: string
let database: PgDatabase

beforeAll(async () => {
  url = await freshDatabase()
  database = pgSql({ connectionString: url })
}, 60_000)
afterAll(() => database.close())

/** A process's bell; `change` lets a test come between. */
function process(change: (channel: Channel) => Channel = (channel) => channel) {
  const sent: string[] = []
  const heard: string[] = []
  let counted = 0
  const real = notifyChannel(database)
  const channel = change({
    send: (text) => {
      sent.push(text)
      return real.send(text)
    },
    listen: (onText, onLost) =>
      real.listen((text) => {
        heard.push(text)
        onText(text)
      }, onLost),
    countListeners: async () => {
      const count = await real.countListeners()
      counted++
      return count
    },
  })
  const invitations: string[] = []
  const local = inProcessBell({ lookEveryMs: Number.POSITIVE_INFINITY })
  const bell = sharedBell(local, channel, { invited: (namespace) => void invitations.push(namespace) })
  onTestFinished(() => bell.close())
  const ownHellos = (texts: string[]) => texts.filter((text) => text === sent.find((one) => one.includes('"isHello"')))
  return {
    bell,
    sent,
    invitations,
    counted: () => counted,
    rings: () => sent.filter((text) => /"(look|due|ended)"/.test(text)),
    /** It listens, and each hello of its own has come round: the looks that they ask for are over. */
    hears: () =>
      expect
        .poll(
          () => [Number.isFinite(bell.lookEveryMs), ownHellos(heard).length - ownHellos(sent).length, sent.length > 0],
          {
            timeout: 10_000,
          },
        )
        .toEqual([false, 0, true]),
  }
}

const toldJobs = (texts: string[]) =>
  texts.flatMap((text) => (JSON.parse(text) as Message).due ?? []).reduce((sum, [, , jobs]) => sum + jobs, 0)
const runner = (services = ['s']) => ({ namespace: 'n', claimId: crypto.randomUUID(), services, kind: services.join() })
const due = (service = 's', jobs = 1) => ({ namespace: 'n', due: [{ service, jobs }] })

test('an invitation is heard by the others, and by who sends it not; one that is alone sends none', async () => {
  const alone = process((channel) => ({ ...channel, countListeners: async () => 1 }))
  await alone.hears()
  expect(await alone.bell.invite('n')).toBe(false)
  const [a, b, c] = [process(), process(), process()]
  await Promise.all([a.hears(), b.hears(), c.hears()])
  expect(await a.bell.invite('m')).toBe(true)
  await expect.poll(() => [b.invitations, c.invitations]).toEqual([['m'], ['m']])
  expect([a.invitations, alone.sent.filter((text) => text.includes('invited'))]).toEqual([[], []])
})

test('an invitation that cannot be sent is nobody’s', async () => {
  const cut = process((channel) => ({
    ...channel,
    send: (text) => (text.includes('invited') ? Promise.reject(new Error('cut')) : channel.send(text)),
    countListeners: async () => 2,
  }))
  await cut.hears()
  expect(await cut.bell.invite('n')).toBe(false)
})

test('a job that one process makes wakes a runner that waits at another', async () => {
  const [a, b] = [process(), process()]
  await Promise.all([a.hears(), b.hears()])
  const waiter = await b.bell.join(runner())
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
    (await b.bell.join({ namespace: 'n', calls: [id] })).woken(LONG_MS),
    (await b.bell.join({ namespace: 'n', calls: [other] })).woken(300),
  ]
  await a.bell.ring({ namespace: 'n', ended: [{ id, outcome: null }] })
  const wakes: Wake[] = await Promise.all(waits)
  expect(wakes).toEqual([{ why: 'rung', ended: [{ id, outcome: null }] }, { why: 'time' }])
})

test('many ends at once reach their caller, in texts that Postgres takes', async () => {
  const [a, b] = [process(), process()]
  await Promise.all([a.hears(), b.hears()])
  const ids = Array.from({ length: 900 }, () => crypto.randomUUID())
  const waiter = await b.bell.join({ namespace: 'n', calls: ids })
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
  await expect.poll(a.counted).toBe(1) // it has asked, and so decided
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
  await b.bell.join(runner())
  for (let n = 0; n < 500; n++) void a.bell.ring(due())
  await expect.poll(() => toldJobs(a.rings())).toBe(500)
  expect(a.rings().length).toBeLessThan(50)
})

test('what a NOTIFY that failed was to tell comes with the next', async () => {
  let failures = 2
  const a = process((channel) => ({
    ...channel,
    send: (text) => (text.includes('due') && failures-- > 0 ? Promise.reject(new Error('cut')) : channel.send(text)),
  }))
  const b = process()
  await Promise.all([a.hears(), b.hears()])
  const woken = (await b.bell.join(runner())).woken(LONG_MS)
  await a.bell.ring(due())
  expect(await woken).toEqual({ why: 'rung', ended: [] })
  expect(failures).toBe(-1)
})

test('while a NOTIFY fails, rings wait for the next try together', async () => {
  let isCut = true
  let tries = 0
  const a = process((channel) => ({
    ...channel,
    send(text) {
      if (!text.includes('due') || !isCut) return channel.send(text)
      tries++
      return Promise.reject(new Error('cut'))
    },
  }))
  const b = process()
  await Promise.all([a.hears(), b.hears()])
  const woken = (await b.bell.join(runner())).woken(LONG_MS)
  for (let n = 0; n < 500; n++) {
    await a.bell.ring(due())
    if (n === 0) await expect.poll(() => tries).toBe(1)
  }
  expect(tries).toBeLessThan(10)
  isCut = false
  expect(await woken).toEqual({ why: 'rung', ended: [] })
  expect(toldJobs(a.rings())).toBe(500)
})

test('who loses the connection looks, looks often until it hears again, and then hears', async () => {
  const [a, b] = [process(), process()]
  await Promise.all([a.hears(), b.hears()])
  const waiter = await b.bell.join(runner())
  const woken = waiter.woken(LONG_MS)
  await database.sql(`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'callplane bell'`)
  expect(await woken).toEqual({ why: 'rung', ended: [] })
  expect(b.bell.lookEveryMs).toBe(500)
  waiter.leave()
  await Promise.all([a.hears(), b.hears()])
  const again = (await b.bell.join(runner())).woken(LONG_MS)
  await a.bell.ring(due())
  expect((await again).why).toBe('rung')
})

test('a connection that is lost while it begins to listen ends nothing but that', async () => {
  const channel = notifyChannel({
    ...database,
    async connect() {
      const client = await database.connect()
      const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid')
      const ended = new Promise((resolve) => client.once('end', resolve))
      const query = client.query.bind(client)
      // As it listens: the loss is told first, and then the query fails.
      client.query = (async (text: string) => {
        await database.sql(`select pg_terminate_backend($1)`, [rows[0]?.pid ?? 0])
        await ended
        return query(text)
      }) as typeof client.query
      return client
    },
  })
  // What nobody caught would fail the run.
  await expect(
    channel.listen(
      () => {},
      () => {},
    ),
  ).rejects.toThrow(/connection/)
})

test('where no NOTIFY arrives, polls look for themselves', async () => {
  const a = process((channel) => ({ ...channel, listen: () => Promise.reject(new Error('no such thing')) }))
  const waiter = await a.bell.join(runner())
  expect((await waiter.woken(LONG_MS)).why).toBe('rung')
  expect(a.bell.lookEveryMs).toBe(500)
})

test('where the database has no NOTIFY, processes write all the same, and look for what others wrote', async () => {
  const refused = () => Promise.reject(new SqlError('unknown function: pg_notify()', '42883'))
  const a = process(() => ({ send: refused, listen: refused, countListeners: refused }))
  const woken = (await a.bell.join(runner())).woken(LONG_MS)
  await a.bell.arm('n')
  await a.bell.ring(due('another'))
  expect((await woken).why).toBe('rung')
  expect(a.bell.lookEveryMs).toBe(500)
  expect((await a.bell.join(runner())).isQuiet).toBe(false)
})
