// What comes between two awaits of a peer: queries that go while they are asked for, times that do not move, a log that begins
// anew, and a peer that has closed.
import { expect, test } from 'vitest'
import { enqueueJobs } from '../../src/jobs/enqueue.ts'
import { appendTime, forgetTimes } from '../../src/live/commands.ts'
import type { Entry } from '../../src/live/log.ts'
import type { PeerOptions } from '../../src/live/peer.ts'
import { readForEver, type ReaderEvents } from '../../src/live/reader.ts'
import type { Head } from '../../src/live/stamp.ts'
import { from } from '../../src/protocol/from.ts'
import { embeddedSql } from '../support/plane.ts'
import { aCall } from '../support/wire.ts'
import { newStage, type Stage } from './stage.ts'

const byState = from('jobs').groupBy('service', 'state').count().plan

async function enqueue({ namespace, peer }: Stage): Promise<void> {
  await enqueueJobs(await embeddedSql(), namespace, [await aCall()], { retentionMs: 86_400_000 })
  peer.poke()
}

/** A log that is read, and what its reader says can be said again, or changed on its way. */
async function logBetween(change: (entries: readonly Entry[]) => readonly Entry[] = (entries) => entries) {
  const sql = await embeddedSql()
  const between: { events?: ReaderEvents; head?: Head } = {}
  const openLog: PeerOptions['openLog'] = (namespace, events) => {
    between.events = events
    return readForEver(sql, namespace, {
      ...events,
      begun: (head) => events.begun((between.head = head)),
      read: (entries) => events.read(change(entries)),
    })
  }
  return { between, openLog }
}

test('a query with a window begins, also where the time that came is that of before', async () => {
  const { openLog } = await logBetween((entries) =>
    entries.map((entry) => {
      const isTime = 'command' in entry && JSON.stringify(entry.command).includes('"Time"')
      return isTime ? { ...entry, command: { command: { Time: 1 } } } : entry
    }),
  )
  const stage = await newStage({ openLog })
  const client = await stage.connect()
  for (const ms of [1_000, 2_000, 3_000]) {
    const plan = from('jobs').window('created_at', ms).groupBy('service').count().plan
    expect(await client.ask('Register', { name: `of_${ms}`, plan })).toHaveProperty('Ok')
    expect(await client.ask('Interest', { name: `of_${ms}` })).toHaveProperty('Ok')
  }
})

test('whoever asks for a query as it goes hears that it is gone', async () => {
  const { between, openLog } = await logBetween()
  // Nothing but microtasks, so that the query can go at each of them.
  const stage = await newStage({ openLog, breathe: () => Promise.resolve() })
  const [first, asking] = [await stage.connect(), await stage.connect()]
  const command = { command: { Unregister: { name: 'states' } } }
  const gone = { tick: 0, client: crypto.randomUUID(), command, atMs: 0 }
  for (let microtasks = 0; microtasks < 20; microtasks++) {
    await first.ask('Register', { name: 'states', plan: byState })
    await first.ask('Interest', { name: 'states' })
    const told = asking.received.length
    const heard = asking.ask('Interest', { name: 'states' })
    for (let n = 0; n < microtasks; n++) await Promise.resolve()
    await between.events?.read([{ ...gone, tick: 1_000_000 + microtasks }])
    await heard
    await first.ask('Status')
    await asking.ask('Status')
    const answers = asking.received.slice(told)
    const tags = answers.map((result) => ('Error' in result ? result.Error[1] : Object.keys(result)[0]))
    expect([
      ['not_found', 'Status'],
      ['Ok', 'Snapshot', 'Reset', 'Status'],
    ]).toContainEqual(tags)
  }
})

test('a command that was on its way as the log began anew is refused, not left without an answer', async () => {
  let isLost = false
  const { between, openLog } = await logBetween((entries) => (isLost ? [] : entries))
  const stage = await newStage({ openLog })
  const client = await stage.connect()
  await client.ask('Register', { name: 'states', plan: byState })
  await client.ask('Interest', { name: 'states' })
  isLost = true
  const answer = client.ask('Register', { name: 'others', plan: byState })
  const sql = await embeddedSql()
  const others = () =>
    sql(`select 1 from callplane.events where namespace = $1 and command::text like '%others%' and tick is not null`, [
      stage.namespace,
    ])
  await expect.poll(others).toHaveLength(1)
  isLost = false
  const [head] = await sql<{ tick: number }>('select tick from callplane.heads where namespace = $1', [stage.namespace])
  await between.events?.begun({ ...(between.head as Head), tick: head?.tick ?? 0 }) // it has begun
  expect(await answer).toMatchObject({ Error: [4, 'database_unavailable', expect.anything()] })
  expect(await client.ask('Interest', { name: 'others' })).toHaveProperty('Ok')
})

test('who has left a query is owed nothing of it', async () => {
  const stage = await newStage()
  const unread = { bytes: 0 }
  const [slow, quick] = [await stage.connect({ unread }), await stage.connect()]
  await slow.ask('Register', { name: 'states', plan: byState })
  for (const client of [slow, quick]) await client.ask('Interest', { name: 'states' })
  unread.bytes = 1_000_000
  await enqueue(stage)
  await expect.poll(() => quick.rows('states')).toHaveLength(1)
  await slow.ask('Uninterest', { name: 'states' })
  unread.bytes = 0
  slow.drained()
  await enqueue(stage)
  await expect.poll(() => quick.rows('states')).toEqual([{ service: 'greeter', state: 'pending', count: 2 }])
  expect(slow.of('states').map((frame) => Object.keys(frame)[0])).toEqual(['Snapshot'])
  await slow.ask('Interest', { name: 'states' })
  expect(slow.rows('states')).toEqual(quick.rows('states'))
})

test('times that a peer appended go, though that peer has gone', async () => {
  const sql = await embeddedSql()
  const [here, there] = ['here', 'there'].map((name) => `times_${process.pid}_${name}`) as [string, string] // of two
  await appendTime(sql, here, crypto.randomUUID(), 'Time')
  await appendTime(sql, here, crypto.randomUUID(), 'Time')
  await appendTime(sql, there, crypto.randomUUID(), 'Time')
  const count = async (namespace: string) =>
    (await sql('select 1 from callplane.events where namespace = $1', [namespace])).length
  await forgetTimes(sql, here, { keptMs: 60_000 })
  expect([await count(here), await count(there)]).toEqual([2, 1])
  await forgetTimes(sql, here, { keptMs: 0 })
  expect([await count(here), await count(there)]).toEqual([0, 1])
})

test('a peer that has closed takes nobody in', async () => {
  const stage = await newStage()
  await stage.peer.close()
  const client = await stage.connect({ key: null })
  client.raw(`[{"id":1,"Auth":{"key":"${stage.namespace}"}}]`)
  await expect.poll(() => client.isClosed).toBe(true)
  expect(client.received).toEqual([{ Error: [null, 'closed', expect.any(String)] }])
})
