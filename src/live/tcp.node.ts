// Live queries over TCP: a frame is a line. There is no TLS here, so it listens where it is told to, and nowhere else.
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { CLOSE, Client } from './client.node.ts'
import type { Acceptor } from './connection.ts'
import type { Gate } from './gate.node.ts'
import { Lines } from './lines.node.ts'

export interface TcpAddress {
  host: string
  /** 0 takes any free port. */
  port: number
}

export interface TcpOptions {
  gate: Gate
  acceptor: Acceptor
  /** How long a connection may be quiet before the system asks whether the other side is still there. */
  keepAliveMs: number
  closeWithinMs: number
}

export interface TcpTransport {
  /** With the port that it got. */
  address: TcpAddress
  close(): Promise<void>
}

/** Whether only processes of this machine reach it. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host)
}

/** `host:port`, as it is written in a URL. */
export function showAddress({ host, port }: TcpAddress): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}

export async function listenOnTcp(address: TcpAddress, options: TcpOptions): Promise<TcpTransport> {
  const clients = new Map<Client, Promise<void>>()
  const server = createServer(
    { noDelay: true, keepAlive: true, keepAliveInitialDelay: options.keepAliveMs },
    (socket) => {
      // Its end follows; without a listener the error would end the process.
      socket.on('error', () => {})
      if (options.gate.isFull()) return void socket.destroy()
      const client = connect(socket, options)
      const gone = new Promise<void>((resolve) => {
        socket.once('close', () => {
          clients.delete(client)
          client.gone()
          resolve()
        })
      })
      clients.set(client, gone)
    },
  )
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(cannotListen(address, error)))
    server.listen(address.port, address.host, resolve)
  })
  const { port } = server.address() as AddressInfo // a TCP server that listens has one
  return {
    address: { ...address, port },
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      const all = [...clients.values()]
      for (const client of clients.keys()) client.close(CLOSE.planeCloses, 'the plane closes')
      await Promise.all([closed, ...all])
    },
  }
}

function cannotListen(address: TcpAddress, cause: Error): Error {
  return new Error(`live queries cannot listen on ${showAddress(address)}: ${cause.message}`, { cause })
}

function connect(socket: Socket, { gate, acceptor, closeWithinMs }: TcpOptions): Client {
  const lines = new Lines()
  const taken = (): void => client.taken()
  const client: Client = new Client(
    {
      send(frame) {
        // Bytes, not the string: of that, Node would count characters.
        if (socket.writable) socket.write(Buffer.from(`${frame}\n`), taken)
      },
      get bufferedBytes() {
        return socket.writableLength
      },
      pause: () => socket.pause(),
      resume: () => socket.resume(),
      close() {
        // What still comes is read and forgotten: closing with bytes unread resets the connection, and the client
        // might lose the error that tells it why.
        socket.end()
        setTimeout(() => socket.destroy(), closeWithinMs).unref()
      },
    },
    { gate, acceptor },
  )
  socket.on('data', (chunk) => {
    if (!client.isOpen) return
    for (const incoming of lines.take(chunk)) client.take(incoming)
    client.holds(lines.unfinishedBytes)
  })
  return client
}
