// The objects of live queries on Cloudflare: who is told of what, that they cost nothing while nothing happens, and that
// they go on after an eviction as if nothing had been.
import { env } from 'cloudflare:workers'
import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { expect, onTestFinished, test, vi } from 'vitest'
import { SleepingBell } from '../../src/bell/sleeping-bell.workerd.ts'
import { SleepingPeer } from '../../src/live/peer.workerd.ts'
import { SleepingSequencer } from '../../src/live/sequencer.workerd.ts'
import { SIGN_OF_LIFE, SIGN_OF_LIFE_ANSWER } from '../../src/protocol/sign-of-life.ts'
import { from } from '../../src/protocol/from.ts'
import { aCall, create, pollOnce, post, succeeded } from '../support/wire.ts'
import {
  attached,
  connect,
  evict,
  HERE,
  minutePasses,
  PEERS,
  statements,
  THERE,
  watching,
} from './object-clients.workerd.ts'
import { byState, enqueue } from './peer-suite.ts'
import { newStage, open } from './stage.workerd.ts'

const pending = (count: number) => [{ service: 'greeter', state: 'pending', count }]
/** How often an object of the kind was asked for something. */
function calls<T extends object>(object: T, methods: readonly (keyof T & string)[]): () => number {
  const spies = methods.map((method) => vi.spyOn(object, method as never))
  onTestFinished(() => spies.forEach((spy) => spy.mockRestore()))
  return () => spies.reduce((sum, spy) => sum + spy.mock.calls.length, 0)
}

test('what the Worker commits is heard at every peer', async () => {
  const stage = await newStage()
  const clients = [await watching(stage, HERE), await watching(stage, THERE)]
  await create(stage, [await aCall(), await aCall()])
  for (const client of clients) await expect.poll(() => client.rows('states')).toEqual(pending(2))
  const { jobs } = await pollOnce(stage, { capacity: 2 })
  const running = [{ service: 'greeter', state: 'running', count: 2 }]
  for (const client of clients) await expect.poll(() => client.rows('states')).toEqual(running)
  await pollOnce(stage, { capacity: 0, reports: jobs.map((job) => succeeded(job, 1)) })
  const done = [{ service: 'greeter', state: 'succeeded', count: 2 }]
  for (const client of clients) await expect.poll(() => client.rows('states')).toEqual(done)
})

test('a peer that was evicted is the same one for the others', async () => {
  const stage = await newStage()
  const client = await watching(stage)
  const peer = async () => {
    const status = await client.ask('Status')
    return 'Status' in status ? status.Status[1].peer : null
  }
  const before = await peer()
  await evict(stage)
  expect(await peer()).toBe(before)
})

test('while nobody watches, writers ask nothing of it', async () => {
  const stage = await newStage()
  const asked = calls(SleepingSequencer.prototype, ['poke', 'armed', 'follow'])
  const call = await aCall()
  await create(stage, [call])
  await pollOnce(stage)
  await post(stage, '/v1/calls/cancel', { ids: [call.id] })
  expect(asked()).toBe(0)
  const client = await watching(stage)
  client.close()
  const bell = env.BELL.getByName(stage.namespace)
  const watched = () => runInDurableObject(bell, (_, { storage }) => storage.get('watched'))
  expect(await watched()).toBe(stage.namespace)
  await expect.poll(watched, { timeout: 10_000 }).toBeUndefined()
  const sequencer = env.SEQUENCER.getByName(stage.namespace)
  expect(await runInDurableObject(sequencer, async (_, { storage }) => [...(await storage.list())])).toEqual([])
})

// The only one that waits for sleep to come by itself; the others evict.
test.runIf(env.IS_LONG)(
  'objects sleep within 15 s of silence with sockets open, and a write wakes them',
  { timeout: 60_000 },
  async () => {
    const stage = await newStage()
    await minutePasses(stage)
    const clients = [await connect(stage, HERE), await connect(stage, THERE)]
    for (const client of clients) await client.ask('Interest', { name: 'queues' })
    const objects = [...PEERS, env.SEQUENCER.getByName(stage.namespace)]
    const lives = () => Promise.all(objects.map((object) => runInDurableObject(object, (instance) => instance)))
    // Each has said that it is there.
    const present = () => stage.sql('select 1 from callplane.peers where namespace = $1', [stage.namespace])
    await expect.poll(present, { timeout: 10_000 }).toHaveLength(2)
    const before = await lives()
    // The sweep that is to come for calls of other tests.
    await runInDurableObject(env.BELL.getByName(':alarm'), (_, { storage }) => storage.deleteAlarm())
    const asked = await statements()
    await new Promise((resolve) => setTimeout(resolve, 15_000))
    expect((await statements()) - asked).toBe(0)
    const after = await lives()
    for (const [index, life] of after.entries()) expect(life).not.toBe(before[index])
    await create(stage, [await aCall()])
    for (const client of clients) await expect.poll(() => client.rows('queues')).toHaveLength(1)
  },
)

test('a client that asks for a sign of life gets one, and wakes nobody', async () => {
  const stage = await newStage()
  const client = await watching(stage)
  const asked = calls(SleepingPeer.prototype, ['webSocketMessage'])
  const answer = client.next((result) => 'Ok' in result)
  client.raw(SIGN_OF_LIFE)
  expect(await answer).toEqual(JSON.parse(SIGN_OF_LIFE_ANSWER))
  expect(asked()).toBe(0)
})

test('what a writer committed that died before its poke is found when its arm runs out', async () => {
  const stage = await newStage()
  await minutePasses(stage)
  const client = await connect(stage)
  await client.ask('Interest', { name: 'queues' })
  const sequencer = env.SEQUENCER.getByName(stage.namespace)
  await env.BELL.getByName(stage.namespace).arm()
  await sequencer.poke({ v: 1, namespace: stage.namespace }) // else the look of the arm may find it
  await enqueue({ ...stage, poke() {} }, 1)
  expect(await runDurableObjectAlarm(sequencer)).toBe(true)
  await expect.poll(() => client.rows('queues')).toHaveLength(1)
})

test('a bell that does not hear at first that somebody watches is told again', async () => {
  const stage = await newStage()
  const followed = calls(SleepingSequencer.prototype, ['follow'])
  const deaf = vi.spyOn(SleepingBell.prototype, 'watch').mockImplementationOnce(async () => {
    await expect.poll(followed).toBe(2)
    throw new Error('the object has moved')
  })
  onTestFinished(() => deaf.mockRestore())
  const clients = await Promise.all([connect(stage, HERE), connect(stage, THERE)])
  await Promise.all(clients.map((client) => client.ask('Interest', { name: 'queues' })))
  await create(stage, [await aCall()])
  for (const client of clients) await expect.poll(() => client.rows('queues'), { timeout: 5_000 }).toHaveLength(1)
  const bell = env.BELL.getByName(stage.namespace)
  expect(await runInDurableObject(bell, (_, { storage }) => storage.get('watched'))).toBe(stage.namespace)
})

test('evicted between any two frames, they go on: nothing is said twice, and nothing is missed', async () => {
  const stage = await newStage()
  const clients = [await watching(stage, HERE), await watching(stage, THERE)]
  for (let count = 1; count <= 4; count++) {
    await evict(stage)
    if (count === 2)
      expect(await clients[0]?.ask('Status')).toMatchObject({ Status: [expect.anything(), { clients: 1 }] })
    await enqueue(stage, 1)
    for (const client of clients) await expect.poll(() => client.rows('states')).toEqual(pending(count))
  }
  // To its key, its query and its interest.
  expect(clients[1]?.received.filter((result) => 'Ok' in result)).toHaveLength(3)
  const [client] = clients
  await evict(stage)
  expect(await client?.ask('Uninterest', { name: 'states' })).toHaveProperty('Ok')
  await evict(stage)
  expect(await client?.ask('Uninterest', { name: 'states' })).toMatchObject({
    Error: [expect.anything(), 'not_found', expect.any(String)],
  })
})

test('a client that speaks msgpack is told so in each life of its object', async () => {
  const stage = await newStage()
  await minutePasses(stage)
  const client = await connect(stage, HERE, { isPacked: true })
  await client.ask('Register', { name: 'states', plan: byState })
  await client.ask('Interest', { name: 'states' })
  for (const count of [1, 2]) {
    await enqueue(stage, 1)
    await expect.poll(() => client.rows('states')).toEqual(pending(count))
    await evict(stage)
  }
  expect(await client.ask('Interest', { name: 'none' })).toMatchObject({
    Error: [expect.anything(), 'not_found', expect.any(String)],
  })
})

test('more interests than fit onto a socket are kept too', { timeout: 60_000 }, async () => {
  const stage = await newStage()
  await minutePasses(stage)
  const client = await connect(stage)
  const names = Array.from({ length: 80 }, (_, n) => `${'a_query_with_a_long_name_'.repeat(4)}${n}`)
  const { plan } = from('runners').select('host')
  await client.askAll(names.map((name) => ['Register', { name, plan }]))
  await client.askAll(names.map((name) => ['Interest', { name }]))
  await evict(stage)
  const services = [{ name: 'greeter', slots: 1, functions: [{ name: 'hello', policy: {} }] }]
  await post(stage, '/v1/runners/register', { runner: crypto.randomUUID(), host: 'one', services })
  for (const name of names) await expect.poll(() => client.rows(name)).toEqual([{ host: 'one' }])
})

test('a request whose answer was owed as the object was evicted ends the connection, so that it is asked again', async () => {
  const stage = await newStage()
  const client = await watching(stage)
  await attached(stage)
  const [peer] = PEERS
  await runInDurableObject(peer ?? {}, (_, state) => {
    for (const socket of state.getWebSockets()) {
      const known = socket.deserializeAttachment() as object
      socket.serializeAttachment({ ...known, interests: null })
    }
  })
  await evictDurableObject(peer ?? {})
  await enqueue(stage, 1)
  await expect.poll(() => client.isClosed).toBe(true)
  expect(client.received.at(-1)).toMatchObject({ Error: [null, 'closed', expect.any(String)] })
})

test('a revoked key hears nothing more once its object wakes', async () => {
  const stage = await newStage()
  const client = await watching(stage)
  await attached(stage)
  const { keyId } = await runInDurableObject(PEERS[0] ?? {}, (_, state) => {
    const all = state
      .getWebSockets()
      .map((socket) => (socket.deserializeAttachment() as { guest: { namespace: string; keyId: string } | null }).guest)
    return all.find((guest) => guest?.namespace === stage.namespace) ?? { keyId: '' }
  })
  await stage.sql('update callplane.keys set revoked_at = now() where namespace = $1 and id = $2', [
    stage.namespace,
    keyId,
  ])
  await evict(stage)
  await enqueue(stage, 1)
  await expect.poll(() => client.isClosed).toBe(true)
  expect(client.received.at(-1)).toMatchObject({ Error: [null, 'unauthorized', expect.any(String)] })
  expect(client.rows('states')).toEqual([])
})

test('what is said in another version is refused, and logged', async () => {
  const stage = await newStage()
  const log = vi.spyOn(console, 'log').mockImplementation(() => {})
  onTestFinished(() => log.mockRestore())
  const message = { v: 2 as 1, namespace: stage.namespace }
  const { namespace } = stage
  const tell = (object: object, run: (instance: object) => Promise<unknown>) =>
    runInDurableObject(object, (instance) => expect(run(instance)).rejects.toThrow('version 2'))
  await tell(env.SEQUENCER.getByName(namespace), (it) => (it as SleepingSequencer<object>).poke(message))
  await tell(PEERS[0] ?? {}, (it) => (it as SleepingPeer<object>).hear({ ...message, after: 0, entries: [] }))
  const watch = { ...message, isWatched: true }
  await tell(env.BELL.getByName(namespace), (it) => (it as SleepingBell<object>).watch(watch))
  const events = log.mock.calls.map(([line]) => (JSON.parse(String(line)) as { event: string }).event)
  expect(events).toEqual(['sequencer_refused', 'peer_refused'])
})

test('the key of a page comes as its cookie, from the own origin alone', async () => {
  const stage = await newStage()
  const cookie = `callplane_key=${stage.key}`
  const page = await open({ cookie, origin: 'https://plane.test', host: 'plane.test' })
  await expect.poll(() => page.received).toEqual([{ Ok: 'cookie' }])
  const other = await open({ cookie, origin: 'https://other.test', host: 'plane.test' })
  other.raw('[{"id":1,"Status":{}}]')
  await expect.poll(() => other.isClosed).toBe(true)
})

test('a frame that is too long is refused, and ends the connection', async () => {
  const stage = await newStage()
  const client = await connect(stage)
  client.raw('é'.repeat(600_000))
  await expect.poll(() => client.isClosed).toBe(true)
  expect(client.received.at(-1)).toMatchObject({ Error: [null, 'payload_too_large', expect.any(String)] })
})

test('who brings no key ends', async () => {
  const client = await open()
  const [peer] = PEERS
  await runInDurableObject(peer ?? {}, (_, state) => {
    for (const socket of state.getWebSockets()) {
      const known = socket.deserializeAttachment() as { acceptedAtMs: number }
      socket.serializeAttachment({ ...known, acceptedAtMs: known.acceptedAtMs - 10_000 })
    }
  })
  expect(await runDurableObjectAlarm(peer ?? {})).toBe(true)
  await expect.poll(() => client.isClosed).toBe(true)
})
