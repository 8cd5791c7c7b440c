// Clients of live queries made of bytes, so that a test can split, break and withhold them, over either transport.
import { connect, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'

export const TRANSPORTS = ['websocket', 'tcp'] as const
export type Transport = (typeof TRANSPORTS)[number]

export interface LiveClient {
  socket: Socket
  /** The frames leave in one packet. */
  send(...frames: string[]): void
  /** Waits for the other side to take them; resolves also where it is gone. */
  sendBytes(bytes: Buffer): Promise<void>
  /** What came next; rejects when the connection ends first. */
  next(): Promise<string>
  /** Frames that came and were not asked for. */
  frames: string[]
  /** The code and the reason of a WebSocket's goodbye, where it said one. */
  closed: Promise<{ code: number | null; reason: string }>
}

export interface ClientOptions {
  headers?: Record<string, string>
  path?: string
  /** Neither answers pings nor says goodbye. */
  isDeaf?: boolean
  /** Goes on sending when the other side has ended its own. */
  isStubborn?: boolean
}

export const TEXT = 0x1
export const BINARY = 0x2
const CLOSE = 0x8
const PING = 0x9
export const PONG = 0xa
const FIN = 0x80

/** The bytes of a frame, as a client sends it. */
export function encode(transport: Transport, text: string): Buffer {
  return transport === 'tcp' ? Buffer.from(`${text}\n`) : message(TEXT, Buffer.from(text))
}

/** A client's WebSocket frame. Its mask of zeros leaves the payload as it is. */
export function message(opcode: number, payload: Buffer, { isLast = true }: { isLast?: boolean } = {}): Buffer {
  const length = payload.length
  const header = Buffer.alloc(length < 126 ? 2 : length < 65_536 ? 4 : 10)
  header[0] = opcode | (isLast ? FIN : 0)
  header[1] = 0x80 | (length < 126 ? length : length < 65_536 ? 126 : 127)
  if (header.length === 4) header.writeUInt16BE(length, 2)
  if (header.length === 10) header.writeBigUInt64BE(BigInt(length), 2)
  return Buffer.concat([header, Buffer.alloc(4), payload])
}

/** A client that is connected; for a WebSocket, once it has been upgraded. */
export async function liveClient(transport: Transport, port: number, options: ClientOptions = {}): Promise<LiveClient> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: options.isStubborn ?? false })
  socket.on('error', () => {})
  onTestFinished(() => void socket.destroy())
  const frames: string[] = []
  let wake = (): void => {}
  const goodbye: { code: number | null; reason: string } = { code: null, reason: '' }
  const closed = new Promise<typeof goodbye>((resolve) => socket.once('close', () => resolve(goodbye)))
  void closed.then(() => wake())
  const take = (text: string): void => {
    frames.push(text)
    wake()
  }
  const rest = transport === 'websocket' ? await upgrade(socket, port, options) : Buffer.alloc(0)
  const read = transport === 'websocket' ? webSocketReader(socket, take, goodbye, options) : lineReader(take)
  socket.on('data', read)
  read(rest)
  return {
    socket,
    frames,
    closed,
    send: (...all) => void socket.write(Buffer.concat(all.map((text) => encode(transport, text)))),
    sendBytes: (bytes) => new Promise((resolve) => socket.write(bytes, () => resolve())),
    async next() {
      while (frames.length === 0) {
        if (socket.closed) throw new Error(`the connection has ended: ${goodbye.code} ${goodbye.reason}`)
        await new Promise<void>((resolve) => (wake = resolve))
      }
      return frames.shift() ?? ''
    },
  }
}

/** Asks for the upgrade, and returns what came behind the answer's head. */
function upgrade(socket: Socket, port: number, { path = '/v1/live', headers = {} }: ClientOptions): Promise<Buffer> {
  const all = {
    host: `127.0.0.1:${port}`,
    connection: 'Upgrade',
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
    ...headers,
  }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.write(`GET ${path} HTTP/1.1\r\n${lines.join('')}\r\n`)
  let head = Buffer.alloc(0)
  return new Promise((resolve, reject) => {
    const read = (chunk: Buffer): void => {
      head = Buffer.concat([head, chunk])
      const end = head.indexOf('\r\n\r\n')
      if (end < 0) return
      socket.off('data', read)
      const [status = ''] = head.toString().split('\r\n')
      if (status.includes(' 101 ')) resolve(head.subarray(end + 4))
      else reject(new Error(status))
    }
    socket.on('data', read)
    socket.once('close', () => reject(new Error('the connection ended instead of an upgrade')))
  })
}

function lineReader(take: (text: string) => void): (chunk: Buffer) => void {
  let rest = Buffer.alloc(0)
  return (chunk) => {
    rest = Buffer.concat([rest, chunk])
    for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n')) {
      take(rest.toString('utf8', 0, end))
      rest = rest.subarray(end + 1)
    }
  }
}

function webSocketReader(
  socket: Socket,
  take: (text: string) => void,
  goodbye: { code: number | null; reason: string },
  { isDeaf = false }: ClientOptions,
): (chunk: Buffer) => void {
  let rest = Buffer.alloc(0)
  const answer = (opcode: number, payload: Buffer): void => {
    if (!isDeaf && socket.writable) socket.write(message(opcode, payload))
  }
  return (chunk) => {
    rest = Buffer.concat([rest, chunk])
    for (let frame = firstFrame(rest); frame !== null; frame = firstFrame(rest)) {
      rest = rest.subarray(frame.end)
      if (frame.opcode === TEXT) take(frame.payload.toString())
      if (frame.opcode === PING) answer(PONG, frame.payload)
      if (frame.opcode !== CLOSE) continue
      goodbye.code = frame.payload.readUInt16BE(0)
      goodbye.reason = frame.payload.toString('utf8', 2)
      answer(CLOSE, frame.payload)
    }
  }
}

/** The first whole frame of a server; null where there is none yet. */
function firstFrame(bytes: Buffer): { opcode: number; payload: Buffer; end: number } | null {
  const short = (bytes[1] ?? 0) & 0x7f
  const start = short < 126 ? 2 : short === 126 ? 4 : 10
  if (bytes.length < start) return null
  const length = short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2))
  if (bytes.length < start + length) return null
  return { opcode: (bytes[0] ?? 0) & 0xf, payload: bytes.subarray(start, start + length), end: start + length }
}
