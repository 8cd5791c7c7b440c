// A peer and its clients, over each transport of Node; and a client that reads slowly.
import { describe, expect, test } from 'vitest'
import { NO_CONNECTION, SqlError } from '../../src/db/sql.ts'
import { cancelJobs } from '../../src/jobs/cancel.ts'
import { forgetJobs } from '../../src/jobs/forget.ts'
import { redriveJobs, type Redriven } from '../../src/jobs/redrive.ts'
import { from } from '../../src/protocol/from.ts'
import { embeddedSql } from '../support/plane.ts'
import { byState, enqueue, peerSuite } from './peer-suite.ts'
import { newStage as stageOver, type Transport } from './stage.ts'

describe.each<Transport>(['none', 'websocket', 'msgpack', 'tcp'])('over %s', (transport) => {
  peerSuite((options = {}) => stageOver(options, { transport }))
})

test('the status tells what each query holds, in rows and in bytes', async () => {
  const stage = await stageOver()
  const client = await stage.connect()
  await client.ask('Register', { name: 'states', plan: byState })
  await client.ask('Register', { name: 'ids', plan: from('jobs').select('id').plan })
  for (const name of ['states', 'ids']) await client.ask('Interest', { name })
  expect(stage.peer.status()[0]?.queries).toMatchObject([{ bytes: 0 }, { bytes: 0 }])
  await enqueue(stage, 100)
  await expect.poll(() => client.rows('ids')).toHaveLength(100)
  const [states, ids] = stage.peer.status()[0]?.queries ?? []
  expect(states).toMatchObject({ name: 'states', clients: 1, rows: 1, stopped: null })
  expect(ids).toMatchObject({ name: 'ids', clients: 1, rows: 100, stopped: null })
  // An id alone has 36 letters, and is there as a value and as a key.
  expect(ids?.bytes).toBeGreaterThan(100 * 72)
  expect(ids?.bytes).toBeLessThan(100 * 1_000)
  expect(states?.bytes).toBeGreaterThan(0)
  expect(states?.bytes).toBeLessThan(10_000)
})

describe('a client that reads slowly', () => {
  const newStage = () => stageOver()

  test('a client that does not read costs a sum, and is right when it reads on', async () => {
    const stage = await newStage()
    const unread = { bytes: 0 }
    const [slow, quick] = [await stage.connect({ unread }), await stage.connect()]
    await slow.ask('Register', { name: 'states', plan: byState })
    for (const client of [slow, quick]) await client.ask('Interest', { name: 'states' })
    unread.bytes = 1_000_000
    for (let n = 0; n < 5; n++) {
      await enqueue(stage, 1)
      await expect.poll(() => quick.rows('states')).toEqual([{ service: 'greeter', state: 'pending', count: n + 1 }])
    }
    expect(slow.of('states')).toHaveLength(1)
    expect(await quick.ask('Status')).toMatchObject({ Status: [expect.anything(), { slowClients: 1, clients: 2 }] })
    unread.bytes = 0
    slow.drained()
    await expect.poll(() => slow.of('states')).toHaveLength(2)
    expect(slow.rows('states')).toEqual(quick.rows('states'))
  })

  test('who is slower than the result is large begins anew', async () => {
    const stage = await newStage()
    const unread = { bytes: 0 }
    const slow = await stage.connect({ unread })
    await slow.ask('Register', { name: 'open', plan: from('jobs').where({ state: 'pending' }).select('id').plan })
    await slow.ask('Interest', { name: 'open' })
    unread.bytes = 1_000_000
    const ids = await enqueue(stage, 1_200)
    await cancelJobs(await embeddedSql(), { namespace: stage.namespace, services: null }, ids.slice(0, 1_000), 'no')
    const watcher = await stage.connect()
    await watcher.ask('Interest', { name: 'open' })
    stage.poke()
    await expect.poll(() => watcher.rows('open')).toHaveLength(200)
    await enqueue(stage, 1)
    await expect.poll(() => watcher.rows('open')).toHaveLength(201)
    unread.bytes = 0
    slow.drained()
    await expect.poll(() => slow.rows('open')).toHaveLength(201)
  })
})

test('a call that is redriven is told of, until its heir is forgotten', async () => {
  const stage = await stageOver()
  const { sql } = stage
  const reach = { namespace: stage.namespace, services: null }
  const [early = '', late = ''] = await enqueue(stage, 2)
  await cancelJobs(sql, reach, [early, late], 'no')
  const [first] = await redriveJobs(sql, reach, [early])
  const heirOf = (one: Redriven | undefined) => (one !== undefined && 'redrivenAs' in one ? one.redrivenAs : '')
  const client = await stage.connect()
  const left = from('jobs').antiJoin(from('redrives'), { on: [['id', 'redriven_from']] })
  await client.askAll([
    ['Register', { name: 'redrives', plan: from('redrives').plan }],
    ['Register', { name: 'left', plan: left.select('id').plan }],
    ['Interest', { name: 'redrives' }],
    ['Interest', { name: 'left' }],
  ])
  expect(client.rows('redrives')).toEqual([{ id: heirOf(first), redriven_from: early }])
  const [second] = await redriveJobs(sql, reach, [late])
  stage.poke()
  const ids = () => new Set(client.rows('left').map(({ id }) => id))
  await expect.poll(ids).toEqual(new Set([heirOf(first), heirOf(second)]))
  await cancelJobs(sql, reach, [heirOf(second)], 'no')
  await sql(
    `update callplane.jobs set finished_at = finished_at - interval '9 days' where namespace = $1 and id = $2`,
    [stage.namespace, heirOf(second)],
  )
  await forgetJobs(sql, { retentionMs: 8 * 86_400_000, limit: 500 })
  stage.poke()
  await expect.poll(ids).toEqual(new Set([late, heirOf(first)]))
  expect(client.rows('redrives')).toHaveLength(1)
})

test('a key that the database cannot be asked about is not called wrong', async () => {
  const stage = await stageOver({
    authenticate: () => Promise.reject(new SqlError('the database system is starting up', NO_CONNECTION)),
  })
  const client = await stage.connect({ key: null })
  await client.ask('Auth', { key: 'live_any' })
  await expect.poll(() => client.isClosed).toBe(true)
  const codes = client.received.map((result) => ('Error' in result ? result.Error.slice(0, 2) : result))
  expect(codes).toEqual([
    [1, 'database_unavailable'],
    [null, 'database_unavailable'],
  ])
})
