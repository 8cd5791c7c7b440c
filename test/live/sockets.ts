// Clients of live queries over real sockets, by hand.
import { connect, type Socket } from 'node:net'
import { WireClient } from './client.ts'

export async function openWebSocket(url: string): Promise<WireClient> {
  const socket = new WebSocket(url)
  const client = new WireClient()
  socket.addEventListener('message', ({ data }) => client.get(String(data)))
  socket.addEventListener('close', () => client.closed())
  await new Promise<void>((resolve, reject) => {
    socket.addEventListener('open', () => resolve())
    socket.addEventListener('error', () => reject(new Error(`no live queries at ${url}`)))
  })
  return client.opened({ send: (frame) => socket.send(frame), close: () => socket.close() })
}

/** The socket can be left unread. */
export async function openTcp(port: number): Promise<{ client: WireClient; socket: Socket }> {
  const socket = connect(port, '127.0.0.1')
  const client = new WireClient()
  let rest = ''
  socket.setEncoding('utf8')
  socket.on('data', (text: string) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) client.get(line)
  })
  socket.on('close', () => client.closed())
  socket.on('error', () => client.closed())
  await new Promise<void>((resolve) => socket.once('connect', resolve))
  client.opened({ send: (frame) => socket.write(`${frame}\n`), close: () => socket.end() })
  return { client, socket }
}
