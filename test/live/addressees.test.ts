// Thousands of clients of several peers, each interested in a few queries of many: nobody hears what it did not ask for.
import { expect, test } from 'vitest'
import { enqueueJobs } from '../../src/jobs/enqueue.ts'
import { from } from '../../src/protocol/from.ts'
import { embeddedSql } from '../support/plane.ts'
import { aCall } from '../support/wire.ts'
import type { WireClient } from './client.ts'
import { newStage } from './stage.ts'

const SUBSCRIPTIONS = process.env['CALLPLANE_LONG'] === '1' ? 50_000 : 2_000
const QUERIES = 40
const A_CLIENT = 4
const CLIENTS_AT_ONCE = 500

const names = Array.from({ length: QUERIES }, (_, n) => `query_${n}`)
/** Each is another plan, and every job concerns all of them. */
const planOf = (n: number) =>
  from('jobs')
    .where('priority', '>', -1 - n)
    .groupBy('function')
    .count().plan

function draw<T>(from: readonly T[], count: number): T[] {
  const left = [...from]
  return Array.from({ length: count }, () => left.splice(Math.floor(Math.random() * left.length), 1)).flat()
}

/** Frames that are neither of a name that the client asked for, nor an answer to one of its requests. */
function strays({ received }: WireClient, asked: ReadonlySet<string>, requests: number) {
  return received.filter((result) => {
    if ('Ok' in result) return Number(result.Ok) > requests
    const [name] = Object.values(result)[0] as [unknown] // each of the others is a list
    return !asked.has(String(name))
  })
}

test('of all that peers send, nothing reaches a client that did not ask for it', async () => {
  const sql = await embeddedSql()
  const stages = await Promise.all(Array.from({ length: 3 }, () => newStage()))
  const namespace = stages[0]?.namespace ?? ''
  const connect = (n: number) => (stages[n % stages.length] ?? stages[0])?.connect({ key: namespace })
  const owner = (await connect(0)) as WireClient // there are stages
  await owner.askAll(names.map((name, n) => ['Register', { name, plan: planOf(n) }] as const))
  for (let done = 0; done < SUBSCRIPTIONS; done += CLIENTS_AT_ONCE * A_CLIENT) {
    const clients = await Promise.all(
      Array.from({ length: CLIENTS_AT_ONCE }, async (_, n) => {
        const client = (await connect(n)) as WireClient // as above
        const asked = draw(names, A_CLIENT)
        await client.askAll(asked.map((name) => ['Interest', { name }] as const))
        return { client, asked }
      }),
    )
    // Some of it is no longer wanted.
    const left = await Promise.all(
      clients.map(async ({ client, asked: [first = '', ...others] }) => {
        await client.ask('Uninterest', { name: first })
        return { client, others, heard: client.of(first).length, first }
      }),
    )
    await enqueueJobs(sql, namespace, [await aCall()], { retentionMs: 86_400_000 })
    for (const { peer } of stages) peer.poke()
    const isTold = () =>
      clients.filter(({ client, asked: [, ...others] }) =>
        others.some((name) => JSON.stringify(client.rows(name)) !== JSON.stringify(owner.rows(name))),
      ).length
    if (done === 0) await owner.askAll(names.map((name) => ['Interest', { name }] as const))
    await expect.poll(isTold, { timeout: 30_000, interval: 50 }).toBe(0)
    for (const { client, asked } of clients) expect(strays(client, new Set(asked), A_CLIENT + 2)).toEqual([])
    for (const { client, first, heard } of left) expect(client.of(first)).toHaveLength(heard)
    for (const { client } of clients) client.close()
  }
})
