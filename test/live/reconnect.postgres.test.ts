// Clients whose peer is killed under them while others write: at another peer they go on from their tick.
import { connect } from 'node:net'
import { Callplane, type LiveChange } from 'callplane'
import { expect, onTestFinished, test } from 'vitest'
import { claimJobs } from '../../src/jobs/claim.ts'
import { completeJobs } from '../../src/jobs/complete.ts'
import { enqueueJobs } from '../../src/jobs/enqueue.ts'
import { count, max } from '../../src/protocol/aggregation.ts'
import { from } from '../../src/protocol/from.ts'
import type { LiveResult } from '../../src/protocol/live.ts'
import { migratedDatabase } from '../support/fresh-database.ts'
import { serveTcp } from '../support/tcp.ts'
import { aCall } from '../support/wire.ts'
import type { WireClient } from './client.ts'
import { keyOf, planeOfTest } from './processes.ts'

const ROUNDS = process.env['CALLPLANE_LONG'] === '1' ? 20 : 2

const QUERIES = {
  states: from('jobs').groupBy('function', 'state').count(),
  latest: from('jobs')
    .groupBy('function')
    .aggregate({ calls: count(), last: max('created_at') }),
  open: from('jobs').where({ state: 'pending' }).select('id', 'function'),
  first: from('jobs').select('id', 'state').orderBy('id').limit(5),
  lately: from('jobs').window('created_at', 1_000).groupBy('function').count(),
}
const NAMES = Object.keys(QUERIES)

const { url, database } = await migratedDatabase({ max: 4 })
/** Calls come and end until it is stopped. */
function writeTo(namespace: string): { stop: () => Promise<void> } {
  const over = new AbortController()
  const runner = { namespace, id: crypto.randomUUID() }
  const services = [{ name: 'greeter', functions: ['hello', 'bye'], capacity: 2 }]
  const write = async (): Promise<void> => {
    for (let n = 0; !over.signal.aborted; n++) {
      const call = await aCall({ function: n % 3 === 0 ? 'bye' : 'hello' })
      await enqueueJobs(database.sql, namespace, [call], { retentionMs: 86_400_000 })
      const { jobs } = await claimJobs(database.sql, runner, { claimId: crypto.randomUUID(), services, maxBytes: 1e6 })
      const reports = jobs.slice(0, 1).map(({ id, token }) => ({ id, token, result: new Uint8Array([1]) }))
      await completeJobs(database.sql, namespace, reports)
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }
  const writing = write()
  return {
    stop: async () => {
      over.abort()
      await writing
    },
  }
}

const tickOf = (frame: LiveResult) => ('QueryDiff' in frame ? frame.QueryDiff[2] : 0)
const diffsOf = (client: WireClient, name: string) => client.of(name).filter((frame) => 'QueryDiff' in frame)
const tagsOf = (frames: readonly LiveResult[]) => new Set(frames.map((frame) => Object.keys(frame)[0]))

const isAlike = (one: WireClient, other: WireClient) =>
  NAMES.every((name) => JSON.stringify(one.rows(name)) === JSON.stringify(other.rows(name)))

test('a client whose peer was killed goes on at another one from its tick: nothing twice, nothing missing, no snapshot', async () => {
  const namespace = 'killed'
  const key = await keyOf(database.sql, namespace)
  const stayed = await (await planeOfTest(url)).connect(key)
  await stayed.askAll(
    NAMES.map((name) => ['Register', { name, plan: QUERIES[name as keyof typeof QUERIES].plan }] as const),
  )
  await stayed.askAll(NAMES.map((name) => ['Interest', { name }] as const))
  const writer = writeTo(namespace)

  let plane = await planeOfTest(url)
  let client = await plane.connect(key)
  await expect
    .poll(() => client.askAll(NAMES.map((name) => ['Interest', { name }] as const)), { timeout: 20_000 })
    .toEqual(NAMES.map(() => ({ Ok: expect.any(Number) as number })))
  for (let round = 0; round < ROUNDS; round++) {
    const [next, before] = [await planeOfTest(url), client]
    const begun = client.received.length
    await expect.poll(() => client.received.length).toBeGreaterThan(begun + 20)
    await plane.kill()
    await expect.poll(() => before.isClosed).toBe(true)
    plane = next
    client = await next.connect(key)
    for (const name of NAMES) {
      const known = structuredClone(before.results.get(name))
      if (known !== undefined) client.results.set(name, known)
    }
    await client.askAll(NAMES.map((name) => ['Interest', { name, from: before.results.get(name)?.tick }] as const))
    await expect.poll(() => diffsOf(client, 'states').length, { timeout: 20_000 }).toBeGreaterThan(5)
    expect(tagsOf(client.received)).not.toContain('Snapshot')
    expect(tagsOf(client.received)).not.toContain('Reset')
    for (const name of NAMES) {
      const from = before.results.get(name)?.tick ?? 0
      const until = Math.min(...[client, stayed].map((one) => one.results.get(name)?.tick ?? 0))
      const within = (one: WireClient) =>
        diffsOf(one, name).filter((frame) => tickOf(frame) > from && tickOf(frame) <= until)
      expect(within(client), name).toEqual(within(stayed))
    }
  }
  await writer.stop()
  await expect.poll(() => isAlike(client, stayed), { timeout: 20_000, interval: 50 }).toBe(true)
})

test('a watch of the SDK does not see that its peer was killed', async () => {
  const namespace = 'watched'
  const key = await keyOf(database.sql, namespace)
  const [first, second, third] = [await planeOfTest(url), await planeOfTest(url), await planeOfTest(url)]
  const stayed = await third.connect(key)
  let target = Number(new URL(first.url).port)
  const port = await serveTcp((socket) => {
    const upstream = connect(target, '127.0.0.1').on('error', () => {})
    for (const [one, other] of [
      [socket, upstream],
      [upstream, socket],
    ] as const) {
      one.once('close', () => other.destroy()).pipe(other)
    }
  })
  const frames: LiveResult[] = []
  class Recorded extends WebSocket {
    constructor(to: string | URL) {
      super(to)
      this.addEventListener('message', ({ data }) => frames.push(JSON.parse(String(data)) as LiveResult))
    }
  }
  const plane = new Callplane({ url: `http://127.0.0.1:${port}`, key, WebSocket: Recorded })
  onTestFinished(() => plane.close())
  const states = await plane.live.register('states', QUERIES.states)
  const resets: string[] = []
  const seen: { tick: number; sum: Map<string, number>; rows: readonly object[] } = {
    tick: 0,
    sum: new Map(),
    rows: [],
  }
  const stop = plane.live.watch(states, {
    onChange({ tick, rows, diffs }: LiveChange<object>) {
      if (tick <= seen.tick) throw new Error(`tick ${tick} came after ${seen.tick}`)
      for (const [row, diff] of diffs) {
        const text = JSON.stringify(row)
        seen.sum.set(text, (seen.sum.get(text) ?? 0) + diff)
      }
      Object.assign(seen, { tick, rows })
    },
    onReset: (reason) => void resets.push(reason),
    onError: (error: unknown) => void resets.push(String(error)),
  })
  onTestFinished(stop)
  await expect.poll(() => stayed.ask('Interest', { name: 'states' })).toHaveProperty('Ok')
  const writer = writeTo(namespace)
  await expect.poll(() => frames.length).toBeGreaterThan(20)
  target = Number(new URL(second.url).port)
  const told = frames.length
  await first.kill()
  await expect.poll(() => frames.length, { timeout: 30_000 }).toBeGreaterThan(told + 20)
  await writer.stop()
  const last = () => diffsOf(stayed, 'states').map(tickOf).at(-1)
  await expect.poll(() => seen.tick === last(), { timeout: 20_000 }).toBe(true)
  expect(frames.filter((frame) => 'Snapshot' in frame)).toHaveLength(1)
  expect(resets).toEqual([])
  const sum = [...seen.sum].filter(([, diff]) => diff !== 0)
  expect(new Map(sum)).toEqual(new Map(stayed.rows('states').map((row) => [JSON.stringify(row), 1])))
  expect(seen.rows).toHaveLength(sum.length)
  const diffs = frames.filter((frame) => 'QueryDiff' in frame)
  const since = diffs.map(tickOf)[0] ?? 0
  expect(diffs).toEqual(diffsOf(stayed, 'states').filter((frame) => tickOf(frame) >= since))
})
