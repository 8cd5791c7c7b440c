// GET /v1/peers: who answers live queries in a namespace, and how each does.
import { expect, test } from 'vitest'
import { renewPeer } from '../../src/live/presence.ts'
import { beginWatching } from '../../src/live/stamp.ts'
import { listPeersAnswer } from '../../src/protocol/peers.ts'
import { setup, type TestPlane } from '../support/plane.ts'

const load = { tick: 0, clients: 2, slowClients: 1, queries: 3, rows: 40, bytes: 5_000 }

async function list({ app }: TestPlane, key: string) {
  const response = await app.request('/v1/peers', { headers: { authorization: `Bearer ${key}` } })
  const body: unknown = await response.json()
  return { status: response.status, body }
}

test('peers are listed with what they said last, those of the namespace alone', async () => {
  const [plane, other] = [await setup(), await setup()]
  const [awake, asleep] = [crypto.randomUUID(), crypto.randomUUID()]
  for (const { namespace } of [plane, other]) await beginWatching(plane.sql, namespace)
  await plane.sql('update callplane.heads set tick = 5 where namespace = $1', [plane.namespace])
  const before = { tick: 1, clients: 9, slowClients: 9, queries: 9, rows: 9, bytes: 9 }
  await renewPeer(plane.sql, plane.namespace, awake, { ...before, leaseMs: 60_000 })
  await renewPeer(plane.sql, plane.namespace, awake, { ...load, tick: 3, leaseMs: 60_000 })
  await renewPeer(plane.sql, plane.namespace, asleep, { ...load, tick: 5, leaseMs: 0 })
  await renewPeer(plane.sql, other.namespace, crypto.randomUUID(), { ...load, leaseMs: 60_000 })
  const { status, body } = await list(plane, plane.key)
  expect(status).toBe(200)
  expect(listPeersAnswer.parse(body, 'answer').peers).toMatchObject([
    { id: awake, isAwake: true, tick: 3, lag: 2, clients: 2, slowClients: 1, queries: 3, rows: 40, bytes: 5_000 },
    { id: asleep, isAwake: false, tick: 5, lag: 0 },
  ])
})

test('it takes the scope watch, for the whole namespace', async () => {
  const plane = await setup()
  expect(await list(plane, await plane.newKey([{ scope: 'call' }]))).toMatchObject({ status: 403 })
  expect(await list(plane, await plane.newKey([{ scope: 'watch', services: ['greeter'] }]))).toMatchObject({
    status: 403,
  })
  expect(await list(plane, await plane.newKey([{ scope: 'watch' }]))).toEqual({ status: 200, body: { peers: [] } })
})
