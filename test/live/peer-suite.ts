// What a peer and its clients do, whatever carries their frames: what is registered, who hears of it, and when.
import { expect, test } from 'vitest'
import { claimJobs } from '../../src/jobs/claim.ts'
import { completeJobs } from '../../src/jobs/complete.ts'
import { enqueueJobs } from '../../src/jobs/enqueue.ts'
import { forgetRunners } from '../../src/jobs/forget.ts'
import { leaveRunner, registerRunner } from '../../src/jobs/register.ts'
import type { Sql } from '../../src/db/sql.ts'
import { from } from '../../src/protocol/from.ts'
import { aCall } from '../support/wire.ts'
import type { WireClient } from './client.ts'

/** A namespace at a peer. */
export interface Stage {
  namespace: string
  /** It opens the namespace. */
  key: string
  sql: Sql
  /** Something was written, past whoever tells the peer. */
  poke(): void
  /** A client that has authenticated, unless the key is null. */
  connect(options?: { key?: string | null }): Promise<WireClient>
  /** What the peer has logged. */
  logged: object[]
}

export const byState = from('jobs').groupBy('service', 'state').count().plan

export async function enqueue(
  { namespace, sql, poke }: Pick<Stage, 'namespace' | 'sql' | 'poke'>,
  count: number,
  service = 'greeter',
): Promise<string[]> {
  const calls = await Promise.all(Array.from({ length: count }, () => aCall({ service })))
  await enqueueJobs(sql, namespace, calls, { retentionMs: 86_400_000 })
  poke()
  return calls.map(({ id }) => id)
}

async function work({ namespace, sql, poke }: Stage, count: number): Promise<void> {
  const runner = { namespace, id: crypto.randomUUID() }
  const services = [{ name: 'greeter', functions: ['hello'], capacity: count }]
  const { jobs } = await claimJobs(sql, runner, { claimId: crypto.randomUUID(), services, maxBytes: 1e6 })
  const reports = jobs.map(({ id, token }) => ({ id, token, result: new Uint8Array([1]) }))
  await completeJobs(sql, namespace, reports)
  poke()
}

/** `maxRows`: what a query may hold at the peer; where it cannot be set, that test is left out. */
export function peerSuite(
  newStage: (options?: { maxRows?: number }) => Promise<Stage>,
  { isSettable = true } = {},
): void {
  test('a query registered after jobs were made begins with them, and follows what happens', async () => {
    const stage = await newStage()
    await enqueue(stage, 3)
    const client = await stage.connect()
    expect(await client.ask('Register', { name: 'states', plan: byState })).toEqual({ Ok: 2 })
    expect(await client.ask('Interest', { name: 'states' })).toEqual({ Ok: 3 })
    await expect.poll(() => client.rows('states')).toEqual([{ service: 'greeter', state: 'pending', count: 3 }])
    await work(stage, 2)
    await expect
      .poll(() => client.rows('states'))
      .toEqual([
        { service: 'greeter', state: 'pending', count: 1 },
        { service: 'greeter', state: 'succeeded', count: 2 },
      ])
    expect(stage.logged).toEqual([])
  })

  test('a query with shards is like any other, and they are part of what is registered', async () => {
    const stage = await newStage()
    await enqueue(stage, 3)
    const client = await stage.connect()
    const shared = { name: 'shared', plan: byState, shards: 3 }
    expect(await client.ask('Register', shared)).toHaveProperty('Ok')
    expect(await client.ask('Register', shared)).toHaveProperty('Ok')
    for (const shards of [undefined, 1, 2]) {
      expect(await client.ask('Register', { ...shared, shards })).toHaveProperty('Error.1', 'conflict')
    }
    for (const shards of [0, 65, 1.5, '3']) {
      const answer = await client.ask('Register', { ...shared, name: 'other', shards })
      expect(answer).toHaveProperty('Error.1', 'invalid_request')
    }
    const ids = from('jobs').select('id').plan
    const step = { op: 'join', kind: 'inner', left: { op: 'self', name: 'up' }, right: ids, on: [['id', 'id']] }
    const upwards = { op: 'recurse', name: 'up', base: ids, step }
    expect(await client.ask('Register', { name: 'up', plan: upwards, shards: 2 })).toMatchObject({
      Error: [
        expect.any(Number),
        'invalid_request',
        expect.stringMatching(/^plan\.recurse cannot be divided into shards/),
      ],
    })
    expect(await client.ask('Interest', { name: 'shared' })).toHaveProperty('Ok')
    await expect.poll(() => client.rows('shared')).toEqual([{ service: 'greeter', state: 'pending', count: 3 }])
    await work(stage, 2)
    await expect.poll(() => client.rows('shared')).toHaveLength(2)
    const second = await stage.connect()
    await second.ask('Interest', { name: 'shared' })
    await expect.poll(() => second.rows('shared')).toEqual(client.rows('shared'))
    await client.ask('Unregister', { name: 'shared' })
    await expect.poll(() => second.of('shared').at(-1)).toEqual({ Reset: ['shared', 'the query was unregistered'] })
    expect(await client.ask('Register', { ...shared, shards: 2 })).toHaveProperty('Ok')
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
    await expect.poll(() => second.rows('states')).toEqual(first.rows('states'))
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
    await expect.poll(() => again.rows('states')).toEqual(other.rows('states'))
    await expect.poll(() => again.of('states').map((frame) => Object.keys(frame)[0])).toEqual(['QueryDiff'])
    const late = await stage.connect()
    await late.ask('Interest', { name: 'states', from: 10_000_000 })
    await expect.poll(() => late.of('states').map((frame) => Object.keys(frame)[0])).toEqual(['Reset', 'Snapshot'])
  })

  test.runIf(isSettable)(
    'a query that holds too many rows is stopped, and its clients hear why; others go on',
    async () => {
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
    },
  )

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
    const theirs = await here.connect({ key: there.key })
    await mine.ask('Register', { name: 'states', plan: byState })
    expect(await theirs.ask('Interest', { name: 'states' })).toMatchObject({
      Error: [2, 'not_found', expect.anything()],
    })
    await theirs.ask('Register', { name: 'states', plan: byState })
    await theirs.ask('Interest', { name: 'states' })
    await mine.ask('Interest', { name: 'states' })
    await enqueue(here, 1)
    await expect.poll(() => mine.rows('states')).toHaveLength(1)
    await expect.poll(() => theirs.rows('states')).toEqual([])
  })

  test('runners come and go, and bring their functions', async () => {
    const stage = await newStage()
    const { sql } = stage
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
    await expect.poll(() => client.rows('here')).toEqual([{ host: 'one' }])
    await expect.poll(() => client.rows('served')).toEqual([{ service: 'greeter', function: 'hello' }])
    await registerRunner(sql, stage.namespace, { runner: second, host: 'two', services })
    await leaveRunner(sql, stage.namespace, first)
    await registerRunner(sql, stage.namespace, { runner: second, host: 'three', services })
    stage.poke()
    await expect.poll(() => client.rows('here')).toEqual([{ host: 'three' }])
    await leaveRunner(sql, stage.namespace, second)
    await sql(`update callplane.runners set left_at = left_at - interval '9 days' where namespace = $1`, [
      stage.namespace,
    ])
    await forgetRunners(sql, { retentionMs: 86_400_000, limit: 500 })
    stage.poke()
    await expect.poll(() => client.rows('here')).toEqual([])
    await expect.poll(() => client.rows('served')).toEqual([{ service: 'greeter', function: 'hello' }])
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
}
