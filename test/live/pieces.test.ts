// A peer whose queries all run in pieces: its clients notice nothing.
import { describe, expect, test } from 'vitest'
import { dial } from '../../src/live/dial.node.ts'
import type { PeerOptions } from '../../src/live/peer.ts'
import { readForEver, type ReaderEvents } from '../../src/live/reader.ts'
import type { Head } from '../../src/live/stamp.ts'
import { from } from '../../src/protocol/from.ts'
import type { LiveResult } from '../../src/protocol/live.ts'
import { embeddedSql } from '../support/plane.ts'
import type { WireClient } from './client.ts'
import { byState, enqueue, peerSuite } from './peer-suite.ts'
import { newStage as newWholeStage, type Stage } from './stage.ts'

/** What it registers has shards. */
function sharing(client: WireClient): WireClient {
  const raw = client.raw.bind(client)
  client.raw = (frame) => {
    let requests: unknown
    try {
      requests = JSON.parse(frame)
    } catch {
      return raw(frame)
    }
    if (!Array.isArray(requests)) return raw(frame)
    raw(JSON.stringify(requests.map(shared)))
  }
  return client
}

function shared(request: unknown): unknown {
  if (typeof request !== 'object' || request === null || !('Register' in request)) return request
  const { Register: body } = request
  if (typeof body !== 'object' || body === null || !('plan' in body) || 'shards' in body) return request
  return { ...request, Register: { ...body, shards: 2 } }
}

async function newStage(options: Partial<PeerOptions> = {}): Promise<Stage> {
  const stage = await newWholeStage({ dial, address: () => null, ...options })
  return { ...stage, connect: async (of) => sharing(await stage.connect(of)) }
}

describe('with every query in two pieces', () => peerSuite(newStage))

/** How many run, pieces too. */
const queries = (stage: Stage) => () => stage.peer.status().reduce((sum, { queries }) => sum + queries.length, 0)

const alike = (one: WireClient, other: WireClient) => expect(one.rows('states')).toEqual(other.rows('states'))

test('who comes back is told what it missed, by the peer while it knows, and then from the log', async () => {
  const stage = await newStage({ lingerMs: 0 })
  const [stayed, first] = [await stage.connect(), await stage.connect()]
  await stayed.ask('Register', { name: 'states', plan: byState })
  for (const client of [stayed, first]) await client.ask('Interest', { name: 'states' })
  await enqueue(stage, 1)
  await expect.poll(() => first.rows('states')).toHaveLength(1)
  const from = first.results.get('states')?.tick
  first.close()
  for (let n = 2; n < 5; n++) {
    await enqueue(stage, 1)
    await expect.poll(() => stayed.rows('states')).toEqual([{ service: 'greeter', state: 'pending', count: n }])
  }
  const back = async (): Promise<WireClient> => {
    const client = await stage.connect()
    const known = first.results.get('states')
    if (known !== undefined) client.results.set('states', structuredClone(known))
    await client.ask('Interest', { name: 'states', from })
    await expect.poll(() => client.of('states').length).toBeGreaterThanOrEqual(3)
    expect(client.of('states').every((result) => 'QueryDiff' in result)).toBe(true)
    alike(client, stayed)
    return client
  }
  const again = await back()
  for (const client of [stayed, again]) client.close()
  // Once nobody watches, the peer forgets the query, and asks the log.
  await expect.poll(queries(stage), { timeout: 20_000 }).toBe(0)
  await back()
})

/** A stage, and what says to its peer that the log begins anew where it is. */
async function newStageOfLogs(options: Partial<PeerOptions> = {}) {
  const between: { events?: ReaderEvents; head?: Head } = {}
  const sql = await embeddedSql()
  const stage = await newStage({
    ...options,
    openLog: (namespace, events) => {
      between.events = events
      return readForEver(sql, namespace, { ...events, begun: (head) => events.begun((between.head = head)) })
    },
  })
  const beginAnew = async (): Promise<void> => {
    const { namespace } = stage
    const [head] = await sql<{ tick: number }>('select tick from callplane.heads where namespace = $1', [namespace])
    await between.events?.begun({ ...(between.head as Head), tick: head?.tick ?? 0 }) // it has begun
  }
  return { stage, beginAnew }
}

test('where the log begins anew, its clients get the rows anew', async () => {
  const { stage, beginAnew } = await newStageOfLogs()
  const client = await stage.connect()
  await client.ask('Register', { name: 'states', plan: byState })
  await client.ask('Interest', { name: 'states' })
  await enqueue(stage, 1)
  await expect.poll(() => client.rows('states')).toHaveLength(1)
  const begun = client.next((result) => 'Snapshot' in result)
  await beginAnew()
  await begun
  expect(client.received.some((result) => 'Reset' in result)).toBe(true)
  await enqueue(stage, 1)
  await expect.poll(() => client.rows('states')).toEqual([{ service: 'greeter', state: 'pending', count: 2 }])
  expect(await client.ask('Status')).toHaveProperty('Status.1.queries.length', 3)
})

/** Beside another peer, which says nothing: a client that waits for what it holds. */
async function waiting() {
  const dialled: { closed: (reason: string) => void }[] = []
  const { stage, beginAnew } = await newStageOfLogs({
    dial: (_, events) => {
      dialled.push(events)
      return { send: () => {}, close: () => {} }
    },
  })
  const client = await stage.connect()
  await client.ask('Register', { name: 'states', plan: byState })
  await stage.sql(
    `insert into callplane.peers (namespace, id, expires_at, tick, lag, clients, slow_clients, queries, state_rows,
       address, secret)
     values ($1, $2::uuid, now() + interval '1 hour', 0, 0, 1, 0, 0, 0, 'http://nowhere.example', 'a secret')`,
    [stage.namespace, crypto.randomUUID()],
  )
  const heard = client.ask('Interest', { name: 'states' })
  await expect.poll(() => dialled.length).toBe(1)
  return { stage, beginAnew, client, heard, dialled }
}

test('where the log begins anew while pieces are still waited for, they are asked for anew', async () => {
  const { stage, beginAnew, client, heard, dialled } = await waiting()
  await beginAnew()
  await expect.poll(() => dialled.length).toBe(2)
  // It is gone, and its piece is this peer's.
  dialled[1]?.closed('refused')
  expect(await heard).toHaveProperty('Ok')
  await enqueue(stage, 2)
  await expect.poll(() => client.rows('states')).toEqual([{ service: 'greeter', state: 'pending', count: 2 }])
})

test('who waits for pieces of a query that is unregistered hears that it is', async () => {
  const { stage, heard } = await waiting()
  await (await stage.connect()).ask('Unregister', { name: 'states' })
  expect(await heard).toMatchObject({ Error: [expect.anything(), 'not_found', expect.anything()] })
})

test('what goes while it begins leaves nothing behind, and what nobody watches is let go', async () => {
  const stage = await newStage({ lingerMs: 0 })
  const client = await stage.connect()
  await client.ask('Register', { name: 'states', plan: byState })
  const heard = client.ask('Interest', { name: 'states' })
  const other = await stage.connect()
  await other.ask('Unregister', { name: 'states' })
  await heard
  await client.ask('Register', { name: 'states', plan: byState })
  await client.ask('Interest', { name: 'states' })
  expect(await client.ask('Status')).toHaveProperty('Status.1.queries.length', 3)
  await client.ask('Uninterest', { name: 'states' })
  await expect.poll(() => client.ask('Status'), { timeout: 20_000 }).toHaveProperty('Status.1.queries.length', 0)
})

test('a query that explodes in its pieces is stopped, and its clients are told why', async () => {
  const stage = await newStage({ maxRows: 3 })
  const client = await stage.connect()
  await client.ask('Register', { name: 'ids', plan: from('jobs').select('id').plan })
  await client.ask('Interest', { name: 'ids' })
  await enqueue(stage, 20)
  const stopped = (result: LiveResult) => 'Error' in result && result.Error[1] === 'query_stopped'
  await expect.poll(() => client.received.some(stopped)).toBe(true)
  expect(await client.ask('Interest', { name: 'ids' })).toHaveProperty('Error.1', 'query_stopped')
})
