// A peer and its clients: what is registered, who hears of it, and when.
import { describe, expect, test } from 'vitest'
import { cancelJobs } from '../../src/jobs/cancel.ts'
import { claimJobs } from '../../src/jobs/claim.ts'
import { completeJobs } from '../../src/jobs/complete.ts'
import { enqueueJobs } from '../../src/jobs/enqueue.ts'
import { forgetJobs, forgetRunners } from '../../src/jobs/forget.ts'
import { redriveJobs, type Redriven } from '../../src/jobs/redrive.ts'
import { leaveRunner, registerRunner } from '../../src/jobs/register.ts'
import type { PeerOptions } from '../../src/live/peer.ts'
import { from } from '../../src/protocol/from.ts'
import { embeddedSql } from '../support/plane.ts'
import { aCall } from '../support/wire.ts'
import { newStage as stageOver, type Stage, type Transport } from './stage.ts'

const byState = from('jobs').groupBy('service', 'state').count().plan

async function enqueue({ namespace, peer }: Stage, count: number, service = 'greeter'): Promise<string[]> {
  const calls = await Promise.all(Array.from({ length: count }, () => aCall({ service })))
  await enqueueJobs(await embeddedSql(), namespace, calls, { retentionMs: 86_400_000 })
  peer.poke()
  return calls.map(({ id }) => id)
}

async function work({ namespace, peer }: Stage, count: number): Promise<void> {
  const sql = await embeddedSql()
  const runner = { namespace, id: crypto.randomUUID() }
  const services = [{ name: 'greeter', functions: ['hello'], capacity: count }]
  const { jobs } = await claimJobs(sql, runner, { claimId: crypto.randomUUID(), services, maxBytes: 1e6 })
  const reports = jobs.map(({ id, token }) => ({ id, token, result: new Uint8Array([1]) }))
  await completeJobs(sql, namespace, reports)
  peer.poke()
}

describe.each<Transport>(['none', 'websocket', 'tcp'])('over %s', (transport) => {
  const newStage = (options: Partial<PeerOptions> = {}) => stageOver(options, { transport })

  test('a query registered after jobs were made begins with them, and follows what happens', async () => {
    const stage = await newStage()
    await enqueue(stage, 3)
    const client = await stage.connect()
    expect(await client.ask('Register', { name: 'states', plan: byState })).toEqual({ Ok: 2 })
    expect(await client.ask('Interest', { name: 'states' })).toEqual({ Ok: 3 })
    expect(client.rows('states')).toEqual([{ service: 'greeter', state: 'pending', count: 3 }])
    await work(stage, 2)
    await expect
      .poll(() => client.rows('states'))
      .toEqual([
        { service: 'greeter', state: 'pending', count: 1 },
        { service: 'greeter', state: 'succeeded', count: 2 },
      ])
    expect(stage.logged).toEqual([])
  })

  test('the second client of a name gets a snapshot too, and each hears for itself', async () => {
    const stage = await newStage()
    const [first, second] = [await stage.connect(), await stage.connect()]
    await first.ask('Register', { name: 'states', plan: byState })
    await first.ask('Interest', { name: 'states' })
    await enqueue(stage, 2)
    await expect.poll(() => first.rows('states')).toEqual([{ service: 'greeter', state: 'pending', count: 2 }])
    await second.ask('Interest', { name: 'states' })
    expect(second.rows('states')).toEqual(first.rows('states'))
    await first.ask('Uninterest', { name: 'states' })
    const heard = first.received.length
    await enqueue(stage, 1)
    await expect.poll(() => second.rows('states')).toEqual([{ service: 'greeter', state: 'pending', count: 3 }])
    expect(first.received).toHaveLength(heard)
  })

  test('the same plan registered again leaves who listens where they are', async () => {
    const stage = await newStage()
    const [first, second] = [await stage.connect(), await stage.connect()]
    for (const client of [first, second]) {
      expect(await client.ask('Register', { name: 'states', plan: byState })).toEqual({ Ok: 2 })
      await client.ask('Interest', { name: 'states' })
    }
    await enqueue(stage, 1)
    for (const client of [first, second]) await expect.poll(() => client.rows('states')).toHaveLength(1)
  })

  test('who listens to a query hears that it was unregistered, and its name is free for another plan', async () => {
    const stage = await newStage()
    const [first, second] = [await stage.connect(), await stage.connect()]
    await first.ask('Register', { name: 'states', plan: byState })
    await first.ask('Interest', { name: 'states' })
    const ended = first.next((result) => 'Reset' in result)
    await second.ask('Unregister', { name: 'states' })
    expect(await ended).toEqual({ Reset: ['states', expect.stringContaining('unregistered')] })
    expect(await first.ask('Interest', { name: 'states' })).toMatchObject({
      Error: [4, 'not_found', expect.anything()],
    })
    await second.ask('Register', { name: 'states', plan: from('jobs').groupBy('function').count().plan })
    await first.ask('Interest', { name: 'states' })
    await enqueue(stage, 1)
    await expect.poll(() => first.rows('states')).toEqual([{ function: 'hello', count: 1 }])
  })

  test('errors go to the asking request alone, and a failed interest can be asked again', async () => {
    const stage = await newStage()
    const [client, other] = [await stage.connect(), await stage.connect()]
    expect(await client.ask('Interest', { name: 'nothing' })).toMatchObject({
      Error: [2, 'not_found', expect.anything()],
    })
    expect(await client.ask('Register', { name: 'nothing', plan: { op: 'from', relation: 'jbos' } })).toMatchObject({
      Error: [3, 'invalid_plan', expect.stringContaining('jbos')],
    })
    await client.ask('Register', { name: 'nothing', plan: from('jobs').where({ state: 'failed' }).plan })
    expect(await client.ask('Register', { name: 'nothing', plan: byState })).toMatchObject({
      Error: [5, 'conflict', expect.anything()],
    })
    expect(await client.ask('Interest', { name: 'nothing' })).toEqual({ Ok: 6 })
    expect(other.received).toHaveLength(1)
  })

  test("one client's requests apply in its order, also those of one frame", async () => {
    const stage = await newStage()
    const client = await stage.connect()
    const answers = await client.askAll([
      [
        'CreateAttribute',
        {
          name: 'machines',
          columns: [
            { name: 'id', type: 'text' },
            { name: 'region', type: 'text' },
          ],
        },
      ],
      ['Transact', { changes: [{ relation: 'machines', row: { id: 'm1', region: 'eu' } }] }],
      ['Register', { name: 'regions', plan: { op: 'from', relation: 'machines' } }],
      ['Interest', { name: 'regions' }],
      ['Transact', { changes: [{ relation: 'machines', row: { id: 'm2', region: 'us' } }] }],
      ['CloseInput', { name: 'machines' }],
      ['Transact', { changes: [{ relation: 'machines', row: { id: 'm3', region: 'us' } }] }],
    ])
    expect(answers.map((answer) => Object.keys(answer)[0])).toEqual(['Ok', 'Ok', 'Ok', 'Ok', 'Ok', 'Ok', 'Error'])
    await expect
      .poll(() => client.rows('regions'))
      .toEqual([
        { id: 'm1', region: 'eu' },
        { id: 'm2', region: 'us' },
      ])
  })

  test('a client that comes back with its last tick hears what it missed, and no snapshot', async () => {
    const stage = await newStage()
    const [first, other] = [await stage.connect(), await stage.connect()]
    await first.ask('Register', { name: 'states', plan: byState })
    await first.ask('Interest', { name: 'states' })
    await other.ask('Interest', { name: 'states' })
    await enqueue(stage, 2)
    await expect.poll(() => first.rows('states')).toHaveLength(1)
    // As it is now: over a network, more may come after a close.
    const known = structuredClone(first.results.get('states'))
    first.close()
    await enqueue(stage, 1)
    await expect.poll(() => other.rows('states')).toEqual([{ service: 'greeter', state: 'pending', count: 3 }])
    const again = await stage.connect()
    if (known !== undefined) again.results.set('states', known)
    await again.ask('Interest', { name: 'states', from: known?.tick })
    expect(again.rows('states')).toEqual(other.rows('states'))
    expect(again.of('states').map((frame) => Object.keys(frame)[0])).toEqual(['QueryDiff'])
    const late = await stage.connect()
    await late.ask('Interest', { name: 'states', from: 10_000_000 })
    expect(late.of('states').map((frame) => Object.keys(frame)[0])).toEqual(['Reset', 'Snapshot'])
  })

  test('a query that holds too many rows is stopped, and its clients hear why; others go on', async () => {
    const stage = await newStage({ maxRows: 100 })
    const client = await stage.connect()
    await client.askAll([
      ['Register', { name: 'all', plan: from('jobs').select('id').plan }],
      ['Register', { name: 'states', plan: byState }],
      ['Interest', { name: 'all' }],
      ['Interest', { name: 'states' }],
    ])
    const stopped = client.next((result) => 'Error' in result)
    await enqueue(stage, 101)
    expect(await stopped).toMatchObject({ Error: [4, 'query_stopped', expect.stringContaining('100 rows')] })
    await expect.poll(() => client.rows('states')).toEqual([{ service: 'greeter', state: 'pending', count: 101 }])
    expect(await client.ask('Interest', { name: 'all' })).toMatchObject({
      Error: [6, 'query_stopped', expect.anything()],
    })
  })

  test('changes of many ticks come as one at a granularity', async () => {
    const stage = await newStage()
    const [coarse, fine] = [await stage.connect(), await stage.connect()]
    await coarse.ask('Register', { name: 'states', plan: byState })
    await fine.ask('Interest', { name: 'states' })
    await coarse.ask('Interest', { name: 'states', granularity: 1_000 })
    for (let n = 0; n < 4; n++) {
      await enqueue(stage, 1)
      await expect.poll(() => fine.rows('states')).toEqual([{ service: 'greeter', state: 'pending', count: n + 1 }])
    }
    expect(coarse.of('states').length).toBeLessThan(3)
    await expect.poll(() => coarse.rows('states'), { timeout: 5_000 }).toEqual(fine.rows('states'))
  })

  test('namespaces do not see each other', async () => {
    const [here, there] = [await newStage(), await newStage()]
    const mine = await here.connect()
    const theirs = await here.connect({ key: there.namespace })
    await mine.ask('Register', { name: 'states', plan: byState })
    expect(await theirs.ask('Interest', { name: 'states' })).toMatchObject({
      Error: [2, 'not_found', expect.anything()],
    })
    await theirs.ask('Register', { name: 'states', plan: byState })
    await theirs.ask('Interest', { name: 'states' })
    await mine.ask('Interest', { name: 'states' })
    await enqueue(here, 1)
    await expect.poll(() => mine.rows('states')).toHaveLength(1)
    expect(theirs.rows('states')).toEqual([])
  })

  test('a call that is redriven is told of, until its heir is forgotten', async () => {
    const stage = await newStage()
    const sql = await embeddedSql()
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
    stage.peer.poke()
    const ids = () => new Set(client.rows('left').map(({ id }) => id))
    await expect.poll(ids).toEqual(new Set([heirOf(first), heirOf(second)]))
    await cancelJobs(sql, reach, [heirOf(second)], 'no')
    await sql(
      `update callplane.jobs set finished_at = finished_at - interval '9 days' where namespace = $1 and id = $2`,
      [stage.namespace, heirOf(second)],
    )
    await forgetJobs(sql, { retentionMs: 8 * 86_400_000, limit: 500 })
    stage.peer.poke()
    await expect.poll(ids).toEqual(new Set([late, heirOf(first)]))
    expect(client.rows('redrives')).toHaveLength(1)
  })

  test('runners come and go, and bring their functions', async () => {
    const stage = await newStage()
    const sql = await embeddedSql()
    const services = [{ name: 'greeter', slots: 1, functions: [{ name: 'hello' }] }]
    const [first, second] = [crypto.randomUUID(), crypto.randomUUID()]
    await registerRunner(sql, stage.namespace, { runner: first, host: 'one', services })
    const client = await stage.connect()
    const here = from('runners').where({ left_at: null }).select('host')
    await client.askAll([
      ['Register', { name: 'here', plan: here.plan }],
      ['Register', { name: 'served', plan: from('services').plan }],
      ['Interest', { name: 'here' }],
      ['Interest', { name: 'served' }],
    ])
    expect(client.rows('here')).toEqual([{ host: 'one' }])
    expect(client.rows('served')).toEqual([{ service: 'greeter', function: 'hello' }])
    await registerRunner(sql, stage.namespace, { runner: second, host: 'two', services })
    await leaveRunner(sql, stage.namespace, first)
    await registerRunner(sql, stage.namespace, { runner: second, host: 'three', services })
    stage.peer.poke()
    await expect.poll(() => client.rows('here')).toEqual([{ host: 'three' }])
    await leaveRunner(sql, stage.namespace, second)
    await sql(`update callplane.runners set left_at = left_at - interval '9 days' where namespace = $1`, [
      stage.namespace,
    ])
    await forgetRunners(sql, { retentionMs: 86_400_000, limit: 500 })
    stage.peer.poke()
    await expect.poll(() => client.rows('here')).toEqual([])
    expect(client.rows('served')).toEqual([{ service: 'greeter', function: 'hello' }])
  })

  test('rows leave a window as time goes by', async () => {
    const stage = await newStage()
    const client = await stage.connect()
    await client.ask('Register', {
      name: 'lately',
      plan: from('jobs').window('created_at', 2_000).groupBy('service').count().plan,
    })
    await client.ask('Interest', { name: 'lately' })
    await enqueue(stage, 2)
    await expect.poll(() => client.rows('lately'), { timeout: 5_000 }).toEqual([{ service: 'greeter', count: 2 }])
    await expect.poll(() => client.rows('lately'), { timeout: 8_000 }).toEqual([])
  })

  test('the first request is the key; another key, or none, ends the connection', async () => {
    const stage = await newStage()
    const wrong = await stage.connect({ key: 'cp_wrong' })
    expect(wrong.received[0]).toMatchObject({ Error: [1, 'unauthorized', expect.anything()] })
    await expect.poll(() => wrong.isClosed).toBe(true)
  })
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
    stage.peer.poke()
    await expect.poll(() => watcher.rows('open')).toHaveLength(200)
    await enqueue(stage, 1)
    await expect.poll(() => watcher.rows('open')).toHaveLength(201)
    unread.bytes = 0
    slow.drained()
    await expect.poll(() => slow.rows('open')).toHaveLength(201)
  })
})
