// Clients of live queries over real sockets, by hand.
import { connect, type Socket } from 'node:net'
import { MSGPACK_PROTOCOL } from '../../src/live/msgpack-frames.ts'
import { decodeBody, encodeBody } from '../../src/protocol/wire.ts'
import { WireClient } from './client.ts'

export async function openWebSocket(url: string, { isPacked = false } = {}): Promise<WireClient> {
  const socket = new WebSocket(url, isPacked ? [MSGPACK_PROTOCOL] : [])
  const client = new WireClient()
  socket.binaryType = 'arraybuffer'
  socket.addEventListener('message', ({ data }) => client.get(isPacked ? unpacked(data) : String(data)))
  socket.addEventListener('close', () => client.closed())
  await new Promise<void>((resolve, reject) => {
    socket.addEventListener('open', () => resolve())
    socket.addEventListener('error', () => reject(new Error(`no live queries at ${url}`)))
  })
  if (socket.protocol !== (isPacked ? MSGPACK_PROTOCOL : ''))
    throw new Error(`"${socket.protocol}" is spoken at ${url}`)
  return client.opened({
    send: (frame) => socket.send(isPacked ? packedIfJson(frame) : frame),
    close: () => socket.close(),
  })
}

/** As a client that speaks JSON would have been told it. */
export function unpacked(data: unknown): string {
  if (data instanceof ArrayBuffer) return JSON.stringify(decodeBody(new Uint8Array(data)))
  throw new Error('what was to be msgpack came as text')
}

/** What is no JSON goes as it is. */
export function packedIfJson(frame: string): string | Uint8Array<ArrayBuffer> {
  try {
    return encodeBody(JSON.parse(frame))
  } catch {
    return frame
  }
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
