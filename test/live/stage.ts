// A peer over the embedded database, and clients that speak to it without a network.
import { onTestFinished } from 'vitest'
import { Peer, type PeerOptions } from '../../src/live/peer.ts'
import { readForEver } from '../../src/live/reader.ts'
import { CallplaneError } from '../../src/protocol/errors.ts'
import { embeddedSql } from '../support/plane.ts'
import { WireClient } from './client.ts'

let stages = 0

export interface Stage {
  namespace: string
  peer: Peer
  /** A client that has authenticated; `unread` is what its network has not taken. */
  connect(options?: { key?: string; unread?: { bytes: number } }): Promise<WireClient>
  logged: object[]
}

/** Keys are the names of namespaces here. */
export async function newStage(options: Partial<PeerOptions> = {}): Promise<Stage> {
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
  return {
    namespace,
    peer,
    logged,
    async connect({ key = namespace, unread = { bytes: 0 } } = {}) {
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
      await client.ask('Auth', { key })
      return client
    },
  }
}
