// A peer that sends back what it gets, behind both transports, and tells what it was told.
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'
import type { Acceptor, Connection } from '../../src/live/connection.ts'
import { openTransports, type TransportOptions } from '../../src/live/transports.node.ts'
import { isWebSocketRequest } from '../../src/live/websocket.node.ts'
import { decodeBody } from '../../src/protocol/wire.ts'
import { liveClient, type ClientOptions, type LiveClient, type Transport } from '../support/live-client.ts'

/** What the peer knows of one of its clients. */
export interface Seen {
  connection: Connection
  key: string | undefined
  received: string[]
  refused: string | null
  drained: number
  closed: number
}

export interface EchoOptions extends TransportOptions {
  /** In the place of the echo. */
  onFrame?: (seen: Seen, frame: string) => void
}

export interface Echo {
  server: Server
  /** In the order in which they came. */
  clients: Seen[]
  ports: Record<Transport, number>
  connect(transport: Transport, options?: ClientOptions): Promise<LiveClient>
  /** Resolves once it holds, looked at after whatever a peer is told. */
  until(holds: () => boolean): Promise<void>
  close(): Promise<void>
}

export async function echo({ onFrame = (seen, frame) => seen.connection.send(frame), ...options }: EchoOptions = {}) {
  const clients: Seen[] = []
  let told = (): void => {}
  const acceptor: Acceptor = {
    accept(connection, given) {
      const seen: Seen = { connection, key: given?.key, received: [], refused: null, drained: 0, closed: 0 }
      const tell = (change: () => void): void => {
        change()
        told()
      }
      clients.push(seen)
      told()
      return {
        receive: (frame) =>
          tell(() => {
            const text = typeof frame === 'string' ? frame : JSON.stringify(decodeBody(frame))
            seen.received.push(text)
            onFrame(seen, text)
          }),
        refuse: (code, message) =>
          tell(() => {
            seen.refused = code
            connection.send(JSON.stringify({ Error: [null, code, message] }))
          }),
        drained: () => tell(() => seen.drained++),
        closed: () => tell(() => seen.closed++),
      }
    },
  }
  const server = createServer({ shouldUpgradeCallback: isWebSocketRequest }, (request, response) => {
    request.resume().once('end', () => response.end('served'))
  })
  const transports = await openTransports(server, acceptor, { tcp: { host: '127.0.0.1', port: 0 }, ...options })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const ports = { websocket: (server.address() as AddressInfo).port, tcp: transports.tcp?.port ?? 0 } // it listens on TCP
  let closing: Promise<void> | undefined
  const close = (): Promise<void> => {
    server.close()
    return (closing ??= transports.close())
  }
  onTestFinished(close)
  const running: Echo = {
    server,
    clients,
    ports,
    connect: (transport, given) => liveClient(transport, ports[transport], given),
    async until(holds) {
      while (!holds()) await new Promise<void>((resolve) => (told = resolve))
    },
    close,
  }
  return running
}

/** So many turns of the event loop go by. */
export async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve))
}
