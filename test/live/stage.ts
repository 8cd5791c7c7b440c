// A peer over the embedded database, and clients that speak to it: without a network, by WebSocket, or by TCP.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'
import { Peer, type PeerOptions } from '../../src/live/peer.ts'
import { readForEver } from '../../src/live/reader.ts'
import { openTransports } from '../../src/live/transports.node.ts'
import { CallplaneError } from '../../src/protocol/errors.ts'
import { embeddedSql } from '../support/plane.ts'
import { WireClient } from './client.ts'
import { openTcp, openWebSocket } from './sockets.ts'
import type { Stage as SharedStage } from './peer-suite.ts'

let stages = 0

export type Transport = 'none' | 'websocket' | 'msgpack' | 'tcp'

export interface Stage extends SharedStage {
  peer: Peer
  /** A client that has authenticated, unless the key is null. Without a transport, `unread` is what its network has not taken. */
  connect(options?: { key?: string | null; unread?: { bytes: number } }): Promise<WireClient>
}

/** Keys are the names of namespaces here. */
export async function newStage(
  options: Partial<PeerOptions> = {},
  { transport = 'none' }: { transport?: Transport } = {},
): Promise<Stage> {
  const sql = options.sql ?? (await embeddedSql())
  const namespace = `live_${process.pid}_${stages++}`
  const logged: object[] = []
  const peer = new Peer({
    sql,
    authenticate: async (key) => {
      if (!key.startsWith('live_')) throw new CallplaneError('unauthorized', 'the key is missing, unknown or revoked')
      return { namespace: key }
    },
    openLog: (name, events) => readForEver(sql, name, events),
    breathe: () => new Promise((resolve) => setImmediate(resolve)),
    log: (event) => logged.push(event),
    ...options,
  })
  onTestFinished(() => peer.close())
  const open = transport === 'none' ? openWithout(peer) : await openOver(peer, transport)
  return {
    namespace,
    key: namespace,
    sql,
    peer,
    poke: () => peer.poke(),
    logged,
    async connect({ key = namespace, unread = { bytes: 0 } } = {}) {
      const client = await open(unread)
      if (key !== null) await client.ask('Auth', { key })
      return client
    },
  }
}

type Open = (unread: { bytes: number }) => Promise<WireClient>

function openWithout(peer: Peer): Open {
  return async (unread) => {
    const client = new WireClient()
    const receiver = peer.accept({
      send: (frame) => queueMicrotask(() => client.get(frame)),
      get bufferedBytes() {
        return unread.bytes
      },
      close: () => client.closed(),
    })
    client.opened({ send: (frame) => receiver.receive(frame), close: () => receiver.closed() })
    client.drained = () => receiver.drained()
    return client
  }
}

async function openOver(peer: Peer, transport: Exclude<Transport, 'none'>): Promise<Open> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo // it listens on TCP
  const transports = await openTransports(server, peer, { tcp: { host: '127.0.0.1', port: 0 } })
  onTestFinished(async () => {
    await transports.close()
    server.close()
  })
  return () =>
    transport === 'tcp'
      ? overTcp(transports.tcp?.port ?? 0)
      : overWebSocket(`ws://127.0.0.1:${port}/v1/live`, { isPacked: transport === 'msgpack' })
}

export async function overWebSocket(url: string, options?: { isPacked: boolean }): Promise<WireClient> {
  const client = await openWebSocket(url, options)
  onTestFinished(() => client.close())
  return client
}

export async function overTcp(port: number): Promise<WireClient> {
  const { client, socket } = await openTcp(port)
  onTestFinished(() => void socket.destroy())
  return client
}
