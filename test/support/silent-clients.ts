// A process with many clients of live queries that connect and say nothing: `silent-clients.ts TRANSPORT PORT COUNT`.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

/** As many at once as a server's queue of new connections holds. */
const AT_ONCE = 250

const [transport, port, count] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])]
const upgrade = [
  'GET /v1/live HTTP/1.1',
  'host: 127.0.0.1',
  'connection: Upgrade',
  'upgrade: websocket',
  'sec-websocket-version: 13',
  'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==',
]

const open: Socket[] = []
while (open.length < count) {
  const more = Array.from({ length: Math.min(AT_ONCE, count - open.length) }, connectOne)
  open.push(...(await Promise.all(more)))
}
console.log(`connected ${open.filter((socket) => !socket.destroyed).length}`)

async function connectOne(): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1' })
  await once(socket, 'connect')
  if (transport === 'tcp') return socket
  socket.write(`${upgrade.join('\r\n')}\r\n\r\n`)
  await once(socket, 'data')
  return socket
}
