// Peers that come, go, die and sleep: who holds a row, and who is announced as gone.
import { expect, test } from 'vitest'
import { announceLost, Presence, renewPeer, type Load } from '../../src/live/presence.ts'
import { beginWatching } from '../../src/live/stamp.ts'
import { from } from '../../src/protocol/from.ts'
import { embeddedSql } from '../support/plane.ts'
import { newStage, type Stage } from './stage.ts'

const load: Load = { tick: 0, clients: 1, slowClients: 0, queries: 0, rows: 0, bytes: 0 }

async function rowsOf({ namespace }: Stage) {
  const sql = await embeddedSql()
  return sql(
    'select id, tick, lag, clients, queries, state_rows from callplane.peers where namespace = $1 order by id',
    [namespace],
  )
}

async function announced({ namespace }: Stage) {
  const sql = await embeddedSql()
  return sql<{ peer: string }>(
    `select command -> 'command' -> 'PeerGone' ->> 'peer' as peer from callplane.events
     where namespace = $1 and command -> 'command' ? 'PeerGone'`,
    [namespace],
  )
}

/** A stage whose log goes on, and the row of a peer that has died. */
async function withDead() {
  const stage = await newStage()
  const sql = await embeddedSql()
  await stage.connect()
  await expect.poll(() => rowsOf(stage), { timeout: 20_000 }).toHaveLength(1)
  const dead = crypto.randomUUID()
  await renewPeer(sql, stage.namespace, dead, { ...load, leaseMs: 0 })
  return { stage, sql, dead, others: [crypto.randomUUID(), crypto.randomUUID()] as const }
}

test('a peer with clients holds a row that tells how it does, and takes it along as it closes', async () => {
  const stage = await newStage()
  const client = await stage.connect()
  await client.ask('Register', { name: 'states', plan: from('jobs').groupBy('state').count().plan })
  await client.ask('Interest', { name: 'states' })
  stage.peer.poke()
  await expect
    .poll(() => rowsOf(stage), { timeout: 20_000 })
    .toEqual([{ id: stage.peer.id, tick: 1, lag: 0, clients: 1, queries: 1, state_rows: 0 }])
  expect(await client.ask('Status')).toMatchObject({ Status: [4, { peer: stage.peer.id, lag: 0, clients: 1 }] })
  await stage.peer.close()
  expect(await rowsOf(stage)).toEqual([])
  expect(await announced(stage)).toEqual([])
})

test('a peer that is poked before it has begun to watch renews once it has', async () => {
  const sql = await embeddedSql()
  const namespace = `presence_${process.pid}`
  const peer = crypto.randomUUID()
  const presence = new Presence({ sql, namespace, peer, load: () => load, arm: async () => {} })
  const turn = async () => {
    await presence.turn()
    const rows = await sql('select 1 from callplane.peers where namespace = $1', [namespace])
    return [rows.length, presence.isPoked]
  }
  expect(await turn()).toEqual([0, true])
  await beginWatching(sql, namespace)
  expect(await turn()).toEqual([1, false])
})

test('who looks for the others though nothing has happened says of none that it is gone', async () => {
  const { stage, sql, dead } = await withDead()
  const { namespace } = stage
  let nowMs = 0
  const own = { sql, namespace, peer: crypto.randomUUID(), load: () => load, arm: async () => {}, now: () => nowMs }
  const presence = new Presence(own)
  await presence.renew()
  nowMs += 1_000
  await presence.renew()
  // Nor is it told by the first renewal after that.
  nowMs += 1_000
  await presence.turn()
  expect(await announced(stage)).toEqual([])
  presence.poked()
  nowMs += 6_000
  await presence.turn()
  expect(await announced(stage)).toEqual([{ peer: dead }])
})

test('of many who notice that a peer is gone one announces it, and it goes into the log', async () => {
  const { stage, sql, dead, others } = await withDead()
  for (const peer of others) await renewPeer(sql, stage.namespace, peer, { ...load, leaseMs: 60_000 })
  const counts = await Promise.all([...others, ...others].map((peer) => announceLost(sql, stage.namespace, peer)))
  expect(counts.toSorted((a, b) => a - b)).toEqual([0, 0, 0, 1])
  expect(await announced(stage)).toEqual([{ peer: dead }])
  expect(await rowsOf(stage)).toHaveLength(3)
})

/** A presence whose seconds go by, and whose database answers, as the test says. */
async function presenceOf({ namespace }: Stage, options: { isAwake?: boolean } = {}) {
  const sql = await embeddedSql()
  let armed = 0
  const database = { isDown: false, busy: Promise.resolve(), asked: 0 }
  const peer = crypto.randomUUID()
  const presence = new Presence({
    sql: async (text, params) => {
      database.asked++
      if (database.isDown) throw new Error('the database does not answer')
      await database.busy
      return sql(text, params)
    },
    namespace,
    peer,
    load: () => load,
    arm: async () => void armed++,
    now: () => nowMs,
    ...options,
  })
  let nowMs = 0
  return {
    presence,
    peer,
    database,
    armed: () => armed,
    async after(ms: number, { isPoked = true } = {}) {
      nowMs += ms
      if (isPoked) presence.poked()
      await presence.turn()
    },
  }
}

test('who wakes up with others misses nobody; who goes on hears who did not wake', async () => {
  const { stage, dead } = await withDead()
  const { after, armed } = await presenceOf(stage)
  await after(0)
  expect(await announced(stage)).toEqual([])
  await after(3_600_000)
  expect(await announced(stage)).toEqual([])
  await after(4_000)
  expect(armed()).toBe(0)
  await after(2_000)
  expect(await announced(stage)).toEqual([{ peer: dead }])
  expect(armed()).toBe(1)
})

test('a renewal that failed is made again; who could not renew for long misses nobody who could not either', async () => {
  const { stage, sql } = await withDead()
  const { after, presence, peer, database } = await presenceOf(stage)
  await after(0)
  const leased = () => sql('select 1 from callplane.peers where id = $1::uuid and expires_at > now()', [peer])
  await sql('update callplane.peers set expires_at = now() where id = $1::uuid', [peer])
  database.isDown = true
  for (let failed = 0; failed < 8; failed++) {
    await expect(after(6_000, { isPoked: failed === 0 })).rejects.toThrow('does not answer')
  }
  expect(presence.isPoked).toBe(true)
  database.isDown = false
  await after(6_000, { isPoked: false })
  expect(await leased()).toHaveLength(1)
  expect(await announced(stage)).toEqual([])
})

test('a renewal that takes long is not overtaken by the next, which would be undone by it', async () => {
  const { stage } = await withDead()
  const { after, presence, database } = await presenceOf(stage)
  const { promise, resolve } = Promise.withResolvers<void>()
  database.busy = promise
  const first = after(0)
  await after(6_000)
  await after(6_000)
  expect(database.asked).toBe(1)
  expect(presence.isPoked).toBe(true)
  resolve()
  await first
  await after(1, { isPoked: false })
  expect(presence.isPoked).toBe(false)
  expect(database.asked).toBeGreaterThan(1)
})

test('a peer that is awake anyway renews while the log goes on, though nobody pokes it', async () => {
  const { stage, sql } = await withDead()
  const seen = async (isAwake: boolean) => {
    const { after, presence, peer } = await presenceOf(stage, { isAwake })
    await after(0)
    await sql('update callplane.peers set expires_at = now() where id = $1::uuid', [peer])
    presence.stepped()
    await after(6_000, { isPoked: false })
    return sql('select 1 from callplane.peers where id = $1::uuid and expires_at > now()', [peer])
  }
  expect(await seen(true)).toHaveLength(1)
  expect(await seen(false)).toHaveLength(0)
})

test('nothing is renewed where nothing happens', async () => {
  const { stage } = await withDead()
  const { after } = await presenceOf(stage)
  await after(0)
  await after(6_000, { isPoked: false })
  expect(await announced(stage)).toEqual([])
})

test('a peer that hears that it is gone comes back', async () => {
  const { stage, sql } = await withDead()
  const { peer } = stage
  await sql(`update callplane.peers set expires_at = now() where namespace = $1 and id = $2::uuid`, [
    stage.namespace,
    peer.id,
  ])
  await announceLost(sql, stage.namespace, crypto.randomUUID())
  expect(await rowsOf(stage)).toEqual([])
  await expect.poll(() => rowsOf(stage), { timeout: 20_000 }).toMatchObject([{ id: peer.id }])
})
