// Watching an idle plane is free: once nobody writes, nothing is asked of the database, whoever watches.
import { expect, onTestFinished, test, vi } from 'vitest'
import type { Sql } from '../../src/db/sql.ts'
import { enqueueJobs } from '../../src/jobs/enqueue.ts'
import { dial } from '../../src/live/dial.node.ts'
import { from } from '../../src/protocol/from.ts'
import { embeddedSql } from '../support/plane.ts'
import { aCall } from '../support/wire.ts'
import { newStage } from './stage.ts'

async function setup(options: Parameters<typeof newStage>[0] = {}) {
  const real = await embeddedSql()
  let statements = 0
  const sql: Sql = (text, params) => {
    statements++
    return real(text, params)
  }
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'] })
  onTestFinished(() => void vi.useRealTimers())
  const stage = await newStage({ ...options, sql })
  const client = await pass(stage.connect())
  /** How many there were since it was asked before. */
  const asked = (): number => {
    const count = statements
    statements = 0
    return count
  }
  return { real, stage, client, asked }
}

test.each([
  ['a query', 1],
  ['a query in pieces', 3],
])('two minutes after the last write %s asks nothing, and the next write is heard of', async (_, shards) => {
  const { real, stage, client, asked } = await setup({ dial, address: () => null })
  const plan = from('jobs').groupBy('state').count().plan
  await pass(client.ask('Register', { name: 'states', plan, shards }))
  await pass(client.ask('Interest', { name: 'states' }))
  expect(await pass(client.ask('Status'))).toHaveProperty('Status.1.queries.length', shards === 1 ? 1 : 1 + shards)
  await passMs(120_000)
  asked()
  await passMs(600_000)
  expect(asked()).toBe(0)
  await enqueueJobs(real, stage.namespace, [await aCall()], { retentionMs: 86_400_000 })
  stage.peer.poke()
  await pass(client.next((result) => 'QueryDiff' in result))
  expect(client.rows('states')).toEqual([{ state: 'pending', count: 1 }])
})

test('rows that wait for a later time ask nothing of the database before it has come, or while nobody watches', async () => {
  const { client, asked } = await setup()
  const columns = [{ name: 'n', type: 'int' }]
  await pass(client.ask('CreateAttribute', { name: 'values', columns }))
  await pass(client.ask('Register', { name: 'all', plan: from('values', { n: 'int' }).plan }))
  await pass(client.ask('Interest', { name: 'all' }))
  const changes = [{ relation: 'values', row: { n: 1 } }]
  await pass(client.ask('Transact', { changes, at: Date.now() + 3_600_000 }))
  await passMs(120_000)
  asked()
  await passMs(600_000)
  expect(asked()).toBe(0)
  await passMs(3_600_000)
  expect(asked()).toBeGreaterThan(0)
  // Nor when it has come, where nobody watches.
  await pass(client.ask('Uninterest', { name: 'all' }))
  await passMs(120_000)
  asked()
  await passMs(7_200_000)
  expect(asked()).toBe(0)
})

/** Lets time go by, ten seconds at a time; the database takes its own. */
async function passMs(ms: number): Promise<void> {
  for (let leftMs = ms; leftMs > 0; leftMs -= 10_000) {
    await vi.advanceTimersByTimeAsync(10_000)
    await turnOfTheLoop()
  }
}

/** Lets time go by until it is done. */
async function pass<T>(promise: Promise<T>): Promise<T> {
  const done = new AbortController()
  promise.then(
    () => done.abort(),
    () => done.abort(),
  )
  while (!done.signal.aborted) {
    await vi.advanceTimersByTimeAsync(20)
    await turnOfTheLoop()
  }
  return promise
}

const turnOfTheLoop = () => new Promise((resolve) => setImmediate(resolve))
