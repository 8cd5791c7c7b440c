// Waits for what a peer on Cloudflare attaches to the sockets of its clients.
import { runInDurableObject } from 'cloudflare:test'
import type { DurableObjectState } from '@cloudflare/workers-types'
import { expect } from 'vitest'
import { attachedWhole, type Attached } from '../../src/live/socket-attachment.workerd.ts'
import type { WireClient } from './client.ts'
import type { ObjectStage } from './stage.workerd.ts'

const attachments = (_: object, state: DurableObjectState): Promise<Attached[]> =>
  Promise.all(state.getWebSockets().map((socket) => attachedWhole(state.storage, socket)))

/** By then, everything that these clients of a namespace were told is attached. */
export async function untilAttached(
  { namespace, sql }: ObjectStage,
  peers: readonly Parameters<typeof runInDurableObject>[0][],
  clients: readonly WireClient[],
): Promise<void> {
  const [head] = await sql<{ tick: number }>('select tick from callplane.heads where namespace = $1', [namespace])
  const count = clients.reduce((sum, { isClosed, results }) => sum + (isClosed ? 0 : results.size), 0)
  const told = async () => {
    const all = await Promise.all(peers.map((peer) => runInDurableObject(peer, attachments)))
    const interests = all.flat().flatMap((one) => (one.guest?.namespace === namespace ? (one.interests ?? []) : []))
    return interests.filter(({ from = 0 }) => from >= (head?.tick ?? 0)).length
  }
  await expect.poll(told, { timeout: 10_000 }).toBe(count)
}
