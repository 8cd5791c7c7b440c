// A peer that was invited to a namespace without a client of its own: the others find it there, for a while.
import { expect, test, vi } from 'vitest'
import { dial } from '../../src/live/dial.node.ts'
import type { PeerOptions } from '../../src/live/peer.ts'
import { newStage as newStageOf, type Stage } from './stage.ts'

const LINGER_MS = 300
const newStage = (options: Partial<PeerOptions> = {}) =>
  newStageOf({ dial, address: () => 'http://here.example', lingerMs: LINGER_MS, ...options })

const rows = ({ sql, namespace }: Stage) =>
  sql<{ id: string; clients: number; address: string }>(
    'select id, clients, address from callplane.peers where namespace = $1',
    [namespace],
  )

test('it says that it is there, and goes when nobody has come', async () => {
  const stage = await newStage()
  stage.peer.join(stage.namespace)
  await expect.poll(() => rows(stage)).toEqual([{ id: stage.peer.id, clients: 0, address: 'http://here.example' }])
  expect(stage.peer.status()).toMatchObject([{ clients: 0, queries: [] }])
  await expect.poll(() => stage.peer.status()).toEqual([])
  await expect.poll(() => rows(stage)).toEqual([])
  expect(stage.logged).toEqual([])
})

test('each invitation keeps it for a while; a client that comes keeps it for as long as it stays', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  try {
    const stage = await newStage()
    const isThere = () => stage.peer.status().length === 1
    for (let n = 0; n < 3; n++) {
      stage.peer.join(stage.namespace)
      vi.advanceTimersByTime(LINGER_MS - 1)
      expect(isThere()).toBe(true)
    }
    const connecting = stage.connect()
    await vi.advanceTimersByTimeAsync(0)
    const client = await connecting
    stage.peer.join(stage.namespace)
    vi.advanceTimersByTime(10 * LINGER_MS)
    expect(isThere()).toBe(true)
    client.close()
    vi.advanceTimersByTime(LINGER_MS)
    expect(isThere()).toBe(false)
  } finally {
    vi.useRealTimers()
  }
})

test('one that cannot be reached does not come, nor one whose runtime cannot reach others, or that closes', async () => {
  const unreached = await newStage({ address: () => null })
  const lone = await newStageOf({ address: () => 'http://here.example' })
  const closed = await newStage()
  await closed.peer.close()
  for (const { peer, namespace } of [unreached, lone, closed]) {
    peer.join(namespace)
    expect(peer.status()).toEqual([])
  }
})
