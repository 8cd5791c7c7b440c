// The log under writers at once, transactions that stay open, stampers that are killed, and one that wakes up late.
import { spawn, type ChildProcess } from 'node:child_process'
import { expect, onTestFinished, test } from 'vitest'
import { decodeRows, encodeParam, type Sql } from '../../src/db/sql.ts'
import { cancelJobs } from '../../src/jobs/cancel.ts'
import { claimJobs } from '../../src/jobs/claim.ts'
import { completeJobs } from '../../src/jobs/complete.ts'
import { enqueueJobs } from '../../src/jobs/enqueue.ts'
import { forgetEvents, forgetJobs } from '../../src/jobs/forget.ts'
import { readLog, type Entry } from '../../src/live/log.ts'
import { beginWatching, stampEvents, takeHead } from '../../src/live/stamp.ts'
import { findEventDrift } from '../support/event-sums.ts'
import { migratedDatabase } from '../support/fresh-database.ts'
import { aCall } from '../support/wire.ts'

const isLong = process.env['CALLPLANE_LONG'] === '1'
const RUN_MS = isLong ? 60_000 : 6_000
const RETENTION_MS = 86_400_000
const WRITERS = 16
const STAMPER = new URL('../support/stamper.ts', import.meta.url).pathname

const { url, database } = await migratedDatabase({ max: WRITERS })
let namespaces = 0
async function setup(): Promise<{ sql: Sql; namespace: string }> {
  const namespace = `log_${namespaces++}`
  await beginWatching(database.sql, namespace)
  return { sql: database.sql, namespace }
}

async function enqueue(namespace: string, count: number, sql = database.sql): Promise<string[]> {
  const calls = await Promise.all(Array.from({ length: count }, () => aCall()))
  await enqueueJobs(sql, namespace, calls, { retentionMs: RETENTION_MS })
  return calls.map(({ id }) => id)
}
const ticksOf = (entries: readonly Entry[]) => entries.map(({ tick }) => tick)
const lastOf = (entries: readonly Entry[]) => entries.at(-1)?.tick ?? 0
const LEASE = { leaseMs: 60_000 }

async function stamper(namespace: string, { leaseMs } = LEASE) {
  const held = await takeHead(database.sql, namespace, crypto.randomUUID(), { leaseMs })
  if (held === null) throw new Error('another stamps')
  return held
}

test('what has committed gets the next tick, all of it once; what comes later a later one', async () => {
  const { sql, namespace } = await setup()
  const held = await stamper(namespace)
  const first = await enqueue(namespace, 3)
  expect(ticksOf((await stampEvents(sql, held, { limit: 10, ...LEASE })) ?? [])).toEqual([1, 1, 1])
  expect(await stampEvents(sql, held, { limit: 10, ...LEASE })).toEqual([])
  const second = await enqueue(namespace, 2)
  await stampEvents(sql, held, { limit: 10, ...LEASE })
  const { entries } = await readLog(sql, namespace, { after: 0, limit: 100 })
  const told = entries.map((entry) => `${entry.tick} ${'after' in entry ? String(entry.after?.[0]) : ''}`)
  expect(new Set(told)).toEqual(new Set([...first.map((id) => `1 ${id}`), ...second.map((id) => `2 ${id}`)]))
  expect(told).toHaveLength(5)
  expect(ticksOf((await readLog(sql, namespace, { after: 1, limit: 100 })).entries)).toEqual([2, 2])
})

test('a stamp takes about as many as it may, and never half of a transaction', async () => {
  const { sql, namespace } = await setup()
  const held = await stamper(namespace)
  for (const count of [3, 3, 3, 20]) await enqueue(namespace, count)
  const sizes: number[] = []
  for (;;) {
    const entries = await stampEvents(sql, held, { limit: 7, ...LEASE })
    if (entries === null || entries.length === 0) break
    expect(new Set(ticksOf(entries)).size).toBe(1)
    sizes.push(entries.length)
  }
  expect(sizes).toEqual([6, 3, 20])
  // A reader is given whole ticks too.
  expect(ticksOf((await readLog(sql, namespace, { after: 0, limit: 1 })).entries)).toEqual([1, 1, 1, 1, 1, 1])
})

test('a stamper whose lease ran out finds another epoch, and stamps nothing', async () => {
  const { sql, namespace } = await setup()
  const old = await stamper(namespace, { leaseMs: 0 })
  const next = await stamper(namespace)
  expect(next.epoch).toBeGreaterThan(old.epoch)
  expect(await takeHead(sql, namespace, old.holder, LEASE)).toBeNull()
  await enqueue(namespace, 1)
  expect(await stampEvents(sql, old, { limit: 10, ...LEASE })).toBeNull()
  expect(await stampEvents(sql, next, { limit: 10, ...LEASE })).toHaveLength(1)
})

test('who comes after a long time unwatched begins near the end; who stood before learns that events were left out', async () => {
  const { sql, namespace } = await setup()
  const held = await stamper(namespace)
  await enqueue(namespace, 1)
  await stampEvents(sql, held, { limit: 10, ...LEASE })
  for (let n = 0; n < 21; n++) await enqueue(namespace, 1_000)
  await sql(`update callplane.events set at = at - interval '1 hour' where namespace = $1 and tick is null`, [
    namespace,
  ])
  await sql(`update callplane.heads set watched_from = watched_from - interval '2 hours' where namespace = $1`, [
    namespace,
  ])
  expect(await beginWatching(sql, namespace)).toEqual({ tick: 2, baseTick: 2 })
  expect(await stampEvents(sql, held, { limit: 10, ...LEASE })).toEqual([])
  expect(await readLog(sql, namespace, { after: 1, limit: 10 })).toEqual({ baseTick: 2, headTick: 2, entries: [] })
  // Of few events nothing is left out.
  await enqueue(namespace, 5)
  expect(await beginWatching(sql, namespace)).toEqual({ tick: 2, baseTick: 2 })
  expect(await stampEvents(sql, held, { limit: 10, ...LEASE })).toHaveLength(5)
})

test('who had not come as far as what is forgotten learns that it is', async () => {
  const { sql, namespace } = await setup()
  const held = await stamper(namespace)
  const stamp = async (): Promise<number> => lastOf((await stampEvents(sql, held, { limit: 10, ...LEASE })) ?? [])
  const forget = async (): Promise<void> => {
    const [id] = await enqueue(namespace, 1)
    await stamp()
    await cancelJobs(sql, { namespace, services: null }, [id ?? ''], 'no longer wanted')
    await forgetJobs(sql, { retentionMs: 0, limit: 10 })
  }
  await forget()
  const forgotten = await stamp()
  await enqueue(namespace, 1)
  expect(await stamp()).toBe(forgotten + 1)
  await forgetEvents(sql, { keptMs: 0, limit: 100 })
  expect(await readLog(sql, namespace, { after: forgotten, limit: 10 })).toMatchObject({ baseTick: forgotten })
  // That which nobody has stamped was in nobody's log.
  await forget()
  await forgetEvents(sql, { keptMs: 0, limit: 100 })
  const baseTick = forgotten + 3
  expect(await readLog(sql, namespace, { after: 0, limit: 10 })).toMatchObject({ baseTick, headTick: baseTick })
  // From before anybody watched.
  await forget()
  await sql(`update callplane.heads set watched_from = now() where namespace = $1`, [namespace])
  await forgetEvents(sql, { keptMs: 0, limit: 100 })
  expect(await readLog(sql, namespace, { after: 0, limit: 10 })).toMatchObject({ headTick: baseTick + 1 })
})

test('a stamper that loses its lease while its statement waits stamps nothing', async () => {
  const { sql, namespace } = await setup()
  const old = await stamper(namespace)
  await enqueue(namespace, 1)
  const client = await database.connect()
  await client.query('begin')
  await client.query(`update callplane.heads set epoch = epoch + 1, holder = gen_random_uuid() where namespace = $1`, [
    namespace,
  ])
  const stamped = stampEvents(sql, old, { limit: 10, ...LEASE })
  await expect
    .poll(() => sql(`select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%watched_from%'`))
    .toHaveLength(1)
  await client.query('commit')
  await client.end()
  expect(await stamped).toEqual([])
  expect(await stampEvents(sql, old, { limit: 10, ...LEASE })).toBeNull()
  expect(await sql(`select tick from callplane.heads where namespace = $1`, [namespace])).toEqual([{ tick: 0 }])
})

/** Stamping in a process of its own. */
function spawnStamper(namespace: string): ChildProcess {
  const child = spawn(process.execPath, [STAMPER, url, namespace], { stdio: ['ignore', 'pipe', 'inherit'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  return child
}

test('16 writers, open transactions, stampers killed and a zombie: nothing is missed, no tick goes back, no transaction is split', async () => {
  const { sql, namespace } = await setup()
  const over = new AbortController()
  let heldOpen = 0
  const batches: string[][] = []

  const write = async (index: number) => {
    while (!over.signal.aborted) {
      const ids = await enqueue(namespace, 1 + (index % 3))
      batches.push(ids)
      const runner = { namespace, id: crypto.randomUUID() }
      const services = [{ name: 'greeter', functions: ['hello'], capacity: 2 }]
      const { jobs } = await claimJobs(sql, runner, { claimId: crypto.randomUUID(), services, maxBytes: 1e6 })
      if (index % 4 === 0) await cancelJobs(sql, { namespace, services: null }, ids, 'no longer wanted')
      await completeJobs(
        sql,
        namespace,
        jobs.map(({ id, token }) => ({ id, token, result: new Uint8Array([1]) })),
      )
      if (index === 1) await forgetJobs(sql, { retentionMs: 0, limit: 5 })
    }
  }
  const writeAndStayOpen = async () => {
    const client = await database.connect()
    const inTransaction: Sql = async (text, params = []) => {
      const { fields, rows } = await client.query({ text, values: params.map(encodeParam), rowMode: 'array' })
      return decodeRows(fields, rows)
    }
    while (!over.signal.aborted) {
      await client.query('begin')
      batches.push(await enqueue(namespace, 3, inTransaction))
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 20))
      await client.query('commit')
      heldOpen++
    }
    await client.end()
  }
  const seen: Entry[] = []
  const read = async () => {
    for (;;) {
      const wasStamped = isStamped
      const { entries, baseTick } = await readLog(sql, namespace, { after: lastOf(seen), limit: 200 })
      expect(baseTick).toBe(0)
      for (const entry of entries) seen.push(entry)
      if (wasStamped && entries.length === 0) return
    }
  }

  let isStamped = false
  let isPaused = false
  let running = spawnStamper(namespace)
  const zombie = spawnStamper(namespace)
  const killing = setInterval(() => {
    running.kill('SIGKILL')
    running = spawnStamper(namespace)
    isPaused = !isPaused
    zombie.kill(isPaused ? 'SIGSTOP' : 'SIGCONT')
  }, 1_000)
  const reading = read()
  const writing = [
    ...Array.from({ length: WRITERS }, (_, index) => write(index)),
    writeAndStayOpen(),
    writeAndStayOpen(),
  ]
  await new Promise((resolve) => setTimeout(resolve, RUN_MS))
  over.abort()
  await Promise.all(writing)
  clearInterval(killing)
  zombie.kill('SIGKILL')
  running.kill('SIGKILL')
  // Whatever they left, this one stamps.
  await expect.poll(() => takeHead(sql, namespace, crypto.randomUUID(), { leaseMs: 0 })).not.toBeNull()
  const last = await stamper(namespace)
  while (((await stampEvents(sql, last, { limit: 100, ...LEASE })) ?? []).length > 0);
  isStamped = true
  await reading

  const kept = await sql<{ tick: number | null; count: number }>(
    `select tick, count(*)::int8 as count from callplane.events where namespace = $1 group by tick order by tick`,
    [namespace],
  )
  const readCounts = Array.from(
    Map.groupBy(seen, ({ tick }) => tick),
    ([tick, of]) => [tick, of.length],
  )
  expect(readCounts).toEqual(kept.map(({ tick, count }) => [tick, count]))
  const tickOf = new Map(
    seen.flatMap((one) => ('after' in one && one.before === null ? [[String(one.after?.[0]), one.tick]] : [])),
  )
  const split = batches.filter((ids) => new Set(ids.map((id) => tickOf.get(id) ?? 'missed')).size !== 1)
  expect(split).toEqual([])
  expect(batches.flat().filter((id) => !tickOf.has(id))).toEqual([])
  expect(await findEventDrift(sql)).toEqual([])
  expect(seen.length).toBeGreaterThan(1_000)
  expect(heldOpen).toBeGreaterThan(20)
  expect(last.epoch).toBeGreaterThan(2)
}, 180_000)
