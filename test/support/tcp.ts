// Servers and proxies of a test on free ports, which misbehave on purpose.
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'

/** A server that hands each connection to `onConnection`; returns its port. */
export async function serveTcp(onConnection: (socket: Socket) => void): Promise<number> {
  const server = createServer((socket) => onConnection(socket.on('error', () => {})))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void server.close())
  return (server.address() as AddressInfo).port // It listens on TCP: neither null nor a path.
}

/** A way to the server of `url` whose connections can be cut, as a network does it: without a goodbye. */
export async function breakable(url: string): Promise<{ url: string; breakAll: () => void }> {
  const sockets: Socket[] = []
  const proxied = new URL(url)
  const target = Number(proxied.port)
  const port = await serveTcp((socket) => {
    sockets.push(socket)
    const server = connect(target, '127.0.0.1').on('error', () => {})
    socket.pipe(server).pipe(socket)
  })
  proxied.port = String(port)
  return { url: proxied.href, breakAll: () => sockets.splice(0).forEach((socket) => socket.resetAndDestroy()) }
}
