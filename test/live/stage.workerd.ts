// Clients of live queries in workerd: real sockets to the real Durable Objects, each test in a namespace of its own.
import { env, exports } from 'cloudflare:workers'
import type { WebSocket as WorkerSocket } from '@cloudflare/workers-types'
import { expect, onTestFinished } from 'vitest'
import { MSGPACK_PROTOCOL } from '../../src/live/msgpack-frames.ts'
import { OBJECT_MESSAGE_VERSION as v } from '../../src/protocol/object-message.ts'
import { setup, sql, type WorkerHost } from '../support/worker.ts'
import { WireClient } from './client.ts'
import type { Stage } from './peer-suite.ts'
import { packedIfJson, unpacked } from './sockets.ts'

export interface ObjectStage extends Stage, WorkerHost {}

export async function newStage(): Promise<ObjectStage> {
  const host = await setup()
  const { namespace } = host
  const { key } = host.options
  return {
    ...host,
    key,
    sql,
    poke: () => void env.SEQUENCER.getByName(namespace).poke({ v, namespace }),
    logged: [],
    async connect({ key: given = key } = {}) {
      const client = await open()
      if (given !== null) await client.ask('Auth', { key: given })
      return client
    },
  }
}

/** A socket through the Worker, as a client opens it. */
export async function open(headers: Record<string, string> = {}, { isPacked = false } = {}): Promise<WireClient> {
  const request = new Request('https://plane.test/v1/live', {
    headers: {
      upgrade: 'websocket',
      ...(isPacked ? { 'sec-websocket-protocol': `other, ${MSGPACK_PROTOCOL}` } : {}),
      ...headers,
    },
  })
  const response = await exports.default.fetch(request)
  const { webSocket: socket } = response as unknown as { webSocket: WorkerSocket | null } // workerd's own
  if (socket === null) throw new Error(`no live queries: ${response.status}`)
  expect(response.headers.get('sec-websocket-protocol')).toBe(isPacked ? MSGPACK_PROTOCOL : null)
  const client = new WireClient()
  socket.binaryType = 'arraybuffer'
  socket.addEventListener('message', ({ data }) => client.get(isPacked ? unpacked(data) : String(data)))
  socket.addEventListener('close', () => client.closed())
  socket.accept()
  onTestFinished(() => socket.close())
  return client.opened({
    send: (frame) => socket.send(isPacked ? packedIfJson(frame) : frame),
    close: () => socket.close(),
  })
}
