// A way to a server whose connections break without a goodbye, as networks do it.
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'

export interface TcpProxy {
  /** The URL that was given, by way of the proxy. */
  url: string
  /** Resets a share of the connections that are open, wherever in an exchange they are. Returns how many. */
  cut(share: number): number
  close(): Promise<void>
}

export async function startTcpProxy(target: string): Promise<TcpProxy> {
  const url = new URL(target)
  const port = Number(url.port)
  const open = new Set<Socket>()
  const server = createServer((client) => {
    const upstream = connect(port, '127.0.0.1')
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      one.on('error', () => {}).once('close', () => other.destroy())
      one.pipe(other)
    }
    open.add(client)
    client.once('close', () => open.delete(client))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url.port = String((server.address() as AddressInfo).port) // it listens on TCP: neither null nor a path
  const cut = (share: number): number => {
    const drawn = [...open].filter(() => Math.random() < share)
    for (const socket of drawn) socket.resetAndDestroy()
    return drawn.length
  }
  return {
    url: url.href.replace(/\/$/, ''),
    cut,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        cut(1)
      }),
  }
}
