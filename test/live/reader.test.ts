// A reader whose answers are lost, whose log another stamped, and whose database is away.
import { expect, onTestFinished, test, vi } from 'vitest'
import { SqlError, type Row, type Sql, type SqlParam } from '../../src/db/sql.ts'
import { enqueueJobs } from '../../src/jobs/enqueue.ts'
import { appendCommands } from '../../src/live/commands.ts'
import type { Entry } from '../../src/live/log.ts'
import { readForEver } from '../../src/live/reader.ts'
import { beginWatching, stampEvents, takeHead } from '../../src/live/stamp.ts'
import { newCallId } from '../../src/protocol/call-id.ts'
import { embeddedSql } from '../support/plane.ts'
import { aCall } from '../support/wire.ts'

const STAMP = 'stamped as'
let namespaces = 0

/** A reader; `around` stands between it and the database. */
async function reading(around: (run: () => Promise<Row[]>, text: string) => Promise<Row[]> = (run) => run()) {
  const real = await embeddedSql()
  const sql: Sql = async <R extends Row>(text: string, params?: readonly SqlParam[]) =>
    (await around(() => real(text, params), text)) as R[] // what the statement itself answers
  const namespace = `read_${process.pid}_${namespaces++}`
  const read: Entry[] = []
  const failed: unknown[] = []
  const begin = () => {
    const reader = readForEver(sql, namespace, {
      begun: () => {},
      read: (entries) => void read.push(...entries),
      failed: (error) => failed.push(error),
    })
    onTestFinished(() => reader.close())
    return reader
  }
  const write = async () => enqueueJobs(real, namespace, [await aCall()], { retentionMs: 86_400_000 })
  return { real, namespace, read, failed, begin, write }
}

test('a stamp whose answer was lost is read, though nothing else comes', async () => {
  let losses = 1
  vi.useFakeTimers({ toFake: ['performance'] })
  onTestFinished(() => void vi.useRealTimers())
  const { begin, write, read, failed } = await reading(async (run, text) => {
    const rows = await run()
    if (!text.includes(STAMP) || rows.every(({ tick }) => tick === null) || losses-- === 0) return rows
    // So late that the reader takes the head anew, and has nothing to stamp then.
    vi.advanceTimersByTime(3_000)
    throw new SqlError('lost', null)
  })
  const reader = begin()
  await write()
  reader.poke()
  await expect.poll(() => read.length, { timeout: 10_000 }).toBe(1)
  expect(failed).toHaveLength(1)
})

test('what a stamper that is gone had stamped is read by the next', async () => {
  let onTake = async () => {}
  const { real, namespace, begin, write, read } = await reading(async (run, text) => {
    if (text.includes('set epoch = epoch + 1')) await onTake()
    return run()
  })
  await beginWatching(real, namespace)
  const other = await takeHead(real, namespace, crypto.randomUUID(), { leaseMs: 60_000 })
  if (other === null) throw new Error('another stamps')
  await write()
  // After the reader has begun, and before its first look; then its lease runs out.
  onTake = async () => void (await stampEvents(real, other, { limit: 10, leaseMs: 0 }))
  begin()
  await expect.poll(() => read.length, { timeout: 10_000 }).toBe(1)
})

test('a database that is away is asked once a second, however much is written', async () => {
  let tries = 0
  const { begin } = await reading(() => {
    tries++
    return Promise.reject(new SqlError('away', '57P03'))
  })
  const reader = begin()
  await expect.poll(() => tries).toBe(1)
  const untilMs = performance.now() + 500
  while (performance.now() < untilMs) {
    reader.poke()
    await new Promise((resolve) => setImmediate(resolve))
  }
  expect(tries).toBeLessThan(4)
})

test('what a client asks for does not wait behind a flood of events', async () => {
  const { real, namespace, begin, read } = await reading()
  await beginWatching(real, namespace)
  const calls = await Promise.all(Array.from({ length: 1_000 }, () => aCall()))
  for (let n = 0; n < 12; n++) {
    const made = calls.map((call) => ({ ...call, id: newCallId() }))
    await enqueueJobs(real, namespace, made, { retentionMs: 86_400_000 })
  }
  const command = { CloseInput: { name: 'asked' } }
  await appendCommands(real, namespace, crypto.randomUUID(), [{ number: 1, command }])
  begin()
  await expect.poll(() => read.length, { timeout: 20_000 }).toBe(12_001)
  expect(read.findIndex((entry) => 'command' in entry)).toBeLessThan(10_000)
  expect(read.map(({ tick }) => tick)).toEqual(read.map(({ tick }) => tick).toSorted((a, b) => a - b))
})
