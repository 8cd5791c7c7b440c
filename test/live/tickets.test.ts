// What lets one peer into another, and what does not: pieces of queries are for peers alone, and peers get nothing else.
import { expect, test } from 'vitest'
import { isGood, signTicket } from '../../src/live/ticket.ts'
import { from } from '../../src/protocol/from.ts'
import { embeddedSql } from '../support/plane.ts'
import type { WireClient } from './client.ts'
import { enqueue } from './peer-suite.ts'
import { newStage, type Stage } from './stage.ts'

const byState = from('jobs').groupBy('service', 'state').count().plan

/** A peer that others can reach, with a query in pieces, and what they know of it. */
async function setup() {
  const stage = await newStage({ address: () => 'http://127.0.0.1:1' })
  const client = await stage.connect()
  await client.ask('Register', { name: 'states', plan: byState, shards: 2 })
  const { secret, nowMs } = await known(stage)
  return { stage, client, secret: secret ?? '', nowMs }
}

/** Once it has renewed its lease. */
async function known({ namespace, peer }: Stage): Promise<{ secret: string | null; nowMs: number }> {
  const sql = await embeddedSql()
  const rows = () =>
    sql<{ secret: string | null; now_ms: number }>(
      `select secret, floor(extract(epoch from now()) * 1000)::int8 as now_ms from callplane.peers
       where namespace = $1 and id = $2::uuid`,
      [namespace, peer.id],
    )
  await expect.poll(rows, { timeout: 20_000 }).toHaveLength(1)
  const [row] = await rows()
  return { secret: row?.secret ?? null, nowMs: row?.now_ms ?? 0 }
}

async function enter(stage: Stage, ticket: string): Promise<WireClient> {
  const peer = await stage.connect({ key: null })
  await peer.ask('Auth', { peer: ticket })
  return peer
}

test('a peer with a ticket gets a piece, and may ask for nothing else', async () => {
  const { stage, client, secret, nowMs } = await setup()
  const peer = await enter(stage, await signTicket(stage.namespace, secret, nowMs))
  expect(peer.received).toEqual([{ Ok: 1 }])
  expect(await peer.ask('Interest', { name: 'states', piece: 1, tick: 0 })).toEqual({ Ok: 2 })
  await expect.poll(() => peer.received.at(-1)).toHaveProperty('Snapshot')
  const denied = [
    ['Interest', { name: 'states' }],
    ['Register', { name: 'mine', plan: byState }],
    ['Unregister', { name: 'states' }],
    ['Transact', { changes: [{ relation: 'x', row: {} }] }],
    ['Uninterest', { name: 'states' }],
    ['Status', {}],
  ] as const
  for (const [tag, body] of denied) {
    expect(await peer.ask(tag, body)).toMatchObject({ Error: [expect.any(Number), 'forbidden', expect.anything()] })
  }
  expect(await peer.ask('Interest', { name: 'states', piece: 2 })).toHaveProperty('Error.1', 'not_found')
  expect(await peer.ask('Interest', { name: 'nothing', piece: 0 })).toHaveProperty('Error.1', 'not_found')
  // What it holds for the other counts as its own.
  expect(await client.ask('Status')).toMatchObject({
    Status: [3, { clients: 1, queries: [{ name: 'states#1', clients: 1 }] }],
  })
})

test('to a peer that reads slowly a sum says from where it is one', async () => {
  const { stage, secret, nowMs } = await setup()
  const unread = { bytes: 0 }
  const peer = await stage.connect({ key: null, unread })
  await peer.ask('Auth', { peer: await signTicket(stage.namespace, secret, nowMs) })
  for (const piece of [0, 1]) await peer.ask('Interest', { name: 'states', piece })
  const told = () => peer.received.filter((result) => 'QueryDiff' in result)
  await enqueue(stage, 1)
  await expect.poll(told).toHaveLength(1)
  expect(told()[0]).toHaveProperty('QueryDiff.length', 3)
  const [known] = told()
  unread.bytes = 1_000_000
  const before = stage.peer.status()[0]?.tick ?? 0
  for (const n of [1, 2]) {
    await enqueue(stage, 1)
    await expect.poll(() => stage.peer.status()[0]?.tick).toBeGreaterThanOrEqual(before + n)
  }
  expect(told()).toHaveLength(1)
  unread.bytes = 0
  peer.drained()
  await expect.poll(told).toHaveLength(2)
  const from = known !== undefined && 'QueryDiff' in known ? known.QueryDiff[2] : 0
  const now = stage.peer.status()[0]?.tick
  const name = known !== undefined && 'QueryDiff' in known ? known.QueryDiff[0] : ''
  expect(told()[1]).toEqual({ QueryDiff: [name, expect.any(Array), now, from] })
})

test('a client with a key does not get a piece', async () => {
  const { client } = await setup()
  for (const body of [{ piece: 0 }, { tick: 0 }]) {
    expect(await client.ask('Interest', { name: 'states', ...body })).toHaveProperty('Error.1', 'forbidden')
  }
  expect(await client.ask('Interest', { name: 'states' })).toHaveProperty('Ok')
})

const DAY_MS = 86_400_000
const flipped = (text: string, at: number): string => {
  const char = text[at] === 'A' ? 'B' : 'A'
  return text.slice(0, at) + char + text.slice(at + 1)
}
const HOSTILE: [why: string, ticket: (of: { namespace: string; secret: string; nowMs: number }) => Promise<string>][] =
  [
    ['has expired', ({ namespace, secret, nowMs }) => signTicket(namespace, secret, nowMs - 31_000)],
    ['is good for too long', ({ namespace, secret, nowMs }) => signTicket(namespace, secret, nowMs + DAY_MS)],
    ['is under another secret', ({ namespace, nowMs }) => signTicket(namespace, 'guessed', nowMs)],
    ['is under none', ({ namespace, nowMs }) => signTicket(namespace, 'null', nowMs)],
    [
      'has another signature',
      async ({ namespace, secret, nowMs }) => flipped(await signTicket(namespace, secret, nowMs), 20),
    ],
    [
      'says another time than was signed',
      async ({ namespace, secret, nowMs }) => {
        const ticket = await signTicket(namespace, secret, nowMs)
        const [expires = '', ...rest] = ticket.split('.')
        return [String(Number(expires) + 1), ...rest].join('.')
      },
    ],
    ['is signed for a namespace without clients', ({ secret, nowMs }) => signTicket('live_nobody', secret, nowMs)],
    ['is no ticket', async () => 'x'.repeat(300)],
    ['has no signature', async ({ namespace, nowMs }) => `${nowMs + 1_000}..${namespace}`],
    ['is empty', async () => ''],
  ]

test('a ticket lets nobody in that has expired, is forged, or is none', async () => {
  const { stage, secret, nowMs } = await setup()
  for (const [why, ticketOf] of HOSTILE) {
    const ticket = await ticketOf({ namespace: stage.namespace, secret, nowMs })
    const peer = await enter(stage, ticket)
    expect([why, peer.received[0]]).toEqual([why, { Error: [1, 'unauthorized', expect.anything()] }])
    await expect.poll(() => peer.isClosed).toBe(true)
    expect(JSON.stringify([peer.received, stage.logged])).not.toContain(ticket || 'nothing')
  }
})

test('a ticket for one namespace opens no other, though the same peer has both', async () => {
  const { stage, secret, nowMs } = await setup()
  const other = `${stage.namespace}_other`
  const client = await stage.connect({ key: other })
  await client.ask('Register', { name: 'states', plan: byState, shards: 2 })
  const ofOther = await known({ ...stage, namespace: other })
  const good = await signTicket(stage.namespace, secret, nowMs)
  const tickets = [
    await signTicket(other, secret, nowMs),
    good.replace(stage.namespace, other),
    await signTicket(stage.namespace, ofOther.secret ?? '', nowMs),
  ]
  const moved = good.replace(stage.namespace, other)
  expect(await isGood(good, { namespace: stage.namespace, secret, nowMs })).toBe(true)
  expect(await isGood(moved, { namespace: other, secret, nowMs })).toBe(false)
  for (const ticket of tickets) {
    const peer = await enter(stage, ticket)
    expect(peer.received[0]).toMatchObject({ Error: [1, 'unauthorized', expect.anything()] })
  }
})

test('whoever brings both a key and a ticket, or neither, does not get in', async () => {
  const { stage, secret, nowMs } = await setup()
  const ticket = await signTicket(stage.namespace, secret, nowMs)
  for (const body of [{ key: stage.key, peer: ticket }, {}]) {
    const client = await stage.connect({ key: null })
    expect(await client.ask('Auth', body)).toHaveProperty('Error.1', 'unauthorized')
    await expect.poll(() => client.isClosed).toBe(true)
  }
})

test('a peer that nobody can reach has no secret to be asked with', async () => {
  const stage = await newStage()
  await stage.connect()
  const { secret, nowMs } = await known(stage)
  expect(secret).toBeNull()
  const peer = await enter(stage, await signTicket(stage.namespace, 'null', nowMs))
  expect(peer.received[0]).toHaveProperty('Error.1', 'unauthorized')
})
