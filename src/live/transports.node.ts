// The ways to a peer on Node: WebSocket on the plane's server, and TCP where it is configured, behind one gate.
import type { Server } from 'node:http'
import type { Acceptor } from './connection.ts'
import { Gate, type Bounds } from './gate.node.ts'
import { isLoopback, listenOnTcp, showAddress, type TcpAddress } from './tcp.node.ts'
import { openWebSockets } from './websocket.node.ts'

export interface TransportOptions extends Partial<Bounds> {
  /** Default: no TCP. */
  tcp?: TcpAddress | undefined
  /** Default 30 s: less than proxies and address translations forget a quiet connection after. */
  keepAliveMs?: number
  /** How long a client has to take what is queued, and to say goodbye. Default 5 s. */
  closeWithinMs?: number
  log?: Log
}

type Log = (event: { level: 'info' | 'warn'; event: string; address: string; detail?: string }) => void

export interface Transports {
  /** Where TCP listens, with the port that it got. */
  tcp: TcpAddress | null
  /** Ends every connection, a WebSocket with 1001, and lets go of the TCP port. */
  close(): Promise<void>
}

export async function openTransports(
  server: Server,
  acceptor: Acceptor,
  { tcp, keepAliveMs = 30_000, closeWithinMs = 5_000, log = () => {}, ...bounds }: TransportOptions = {},
): Promise<Transports> {
  const options = { acceptor, gate: new Gate(bounds), keepAliveMs, closeWithinMs }
  const lines = tcp === undefined ? null : await listenOnTcp(tcp, options)
  if (lines !== null) announce(lines.address, log)
  const closeWebSockets = openWebSockets(server, options)
  return {
    tcp: lines?.address ?? null,
    async close() {
      await Promise.all([closeWebSockets(), lines?.close()])
    },
  }
}

function announce(address: TcpAddress, log: Log): void {
  log({ level: 'info', event: 'live_tcp_listening', address: showAddress(address) })
  if (isLoopback(address.host)) return
  const detail = 'keys and rows go over the network as they are: put TLS in front, or listen on 127.0.0.1'
  log({ level: 'warn', event: 'live_tcp_without_tls', address: showAddress(address), detail })
}
