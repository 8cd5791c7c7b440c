// Live queries over WebSocket, at /v1/live on the plane's own server: a frame is a text message, or a binary one for clients that
// offer to speak msgpack.
import type { IncomingMessage, Server } from 'node:http'
import type { Duplex } from 'node:stream'
import { WebSocketServer, type WebSocket } from 'ws'
import { MAX_LIVE_FRAME_BYTES } from '../protocol/limits.ts'
import { CLOSE, Client, type Refusal } from './client.node.ts'
import type { Acceptor } from './connection.ts'
import { cookieKey } from './cookie-key.ts'
import type { Gate } from './gate.node.ts'
import { MSGPACK_PROTOCOL, packed } from './msgpack-frames.ts'

const PATH = '/v1/live'

export interface WebSocketOptions {
  gate: Gate
  acceptor: Acceptor
  /** A client is asked so often whether it is still there, and ends when it did not answer by the next time. */
  keepAliveMs: number
  closeWithinMs: number
}

/**
 * Which requests become a connection: for `createServer`. Some clients offer HTTP/2 with every request ("Upgrade: h2c"),
 * and a server that listens for upgrades would take these from the application.
 */
export function isWebSocketRequest(request: IncomingMessage): boolean {
  return request.headers.upgrade?.toLowerCase() === 'websocket'
}

/** Takes the server's upgrades, all of them. The returned function ends every connection. */
export function openWebSockets(server: Server, options: WebSocketOptions): () => Promise<void> {
  const sockets = new WebSocketServer(settings(options))
  const clients = new Set<Client>()
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (request.url?.split('?')[0] !== PATH) return turnAway(socket, '404 Not Found')
    if (options.gate.isFull()) return turnAway(socket, '503 Service Unavailable')
    const key = keyOf(request)
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      const client = connect(webSocket, socket, { ...options, key })
      clients.add(client)
      webSocket.once('close', () => {
        clients.delete(client)
        client.gone()
      })
    })
  })
  return () =>
    new Promise((resolve) => {
      sockets.close(() => resolve())
      for (const client of clients) client.close(CLOSE.planeCloses, 'the plane closes')
    })
}

function settings({ closeWithinMs }: WebSocketOptions) {
  return {
    noServer: true,
    maxPayload: MAX_LIVE_FRAME_BYTES,
    // A message in pieces holds each read that brought one, 64 KiB, and each read costs some hundred bytes beside its own.
    maxFragments: 64,
    maxBufferedChunks: 4_096,
    // Compressing takes 300 KB a connection, and lets 1 KB of a client's become 1 MB here.
    perMessageDeflate: false,
    // A client that asks for another must not think that it is spoken.
    handleProtocols: (offered: Set<string>) => offered.has(MSGPACK_PROTOCOL) && MSGPACK_PROTOCOL,
    closeTimeout: closeWithinMs,
  }
}

function turnAway(socket: Duplex, status: string): void {
  socket.on('error', () => {})
  socket.once('finish', () => socket.destroy())
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
}

function keyOf({ headers, socket }: IncomingMessage): string | undefined {
  const { cookie, origin, host } = headers
  const proto = headers['x-forwarded-proto']
  const forwardedProto = Array.isArray(proto) ? proto[0] : proto
  return cookieKey({ cookie, origin, host, forwardedProto }, { isEncrypted: 'encrypted' in socket })
}

function connect(
  webSocket: WebSocket,
  socket: Duplex,
  { gate, acceptor, key, keepAliveMs }: WebSocketOptions & { key: string | undefined },
): Client {
  const taken = (): void => client.taken()
  const isPacked = webSocket.protocol === MSGPACK_PROTOCOL
  const client: Client = new Client(
    {
      send(frame) {
        if (webSocket.readyState === webSocket.OPEN) webSocket.send(isPacked ? packed(frame) : frame, taken)
      },
      get bufferedBytes() {
        return webSocket.bufferedAmount
      },
      pause: () => webSocket.pause(),
      resume: () => webSocket.resume(),
      close: (code, reason) => webSocket.close(code, shortened(reason)),
    },
    { gate, acceptor, key },
  )

  let unfinishedBytes = 0
  let hasAnswered = true
  // First, so that it counts a chunk before the frames that end in it are told.
  socket.prependListener('data', (chunk: Buffer) => {
    // Pings count too, and a watcher sends nothing else: but more than a frame is never held.
    unfinishedBytes = Math.min(unfinishedBytes + chunk.length, MAX_LIVE_FRAME_BYTES)
    client.holds(unfinishedBytes)
  })
  webSocket.on('message', (data: Buffer, isBinary) => {
    hasAnswered = true
    unfinishedBytes = 0
    client.holds(0)
    client.take(!isBinary ? data.toString('utf8') : isPacked ? data : BINARY)
  })
  webSocket.on('pong', () => (hasAnswered = true))
  webSocket.on('error', (error) => {
    const refusal = refusalOf(error)
    if (refusal !== null) client.take(refusal)
  })
  const keepAlive = setInterval(() => {
    // Once what has come in the meantime is read: a process that was held up must not blame its clients.
    setImmediate(() => {
      if (!hasAnswered) return webSocket.terminate()
      hasAnswered = false
      if (webSocket.readyState === webSocket.OPEN) webSocket.ping()
    })
  }, keepAliveMs)
  keepAlive.unref()
  webSocket.once('close', () => clearInterval(keepAlive))
  return client
}

const BINARY: Refusal = {
  code: 'invalid_request',
  message: 'a frame is text, and this one is binary',
  close: CLOSE.notText,
}

/** Where it is the client's fault. By then the connection is closing, and its code says what is wrong. */
function refusalOf(error: Error): Refusal | null {
  const code = 'code' in error ? String(error.code) : ''
  if (!code.startsWith('WS_ERR_')) return null
  if (!code.includes('LENGTH') || code === 'WS_ERR_INVALID_CONTROL_PAYLOAD_LENGTH') {
    return { code: 'invalid_request', message: error.message, close: CLOSE.refused }
  }
  const message = `a frame is at most ${MAX_LIVE_FRAME_BYTES} bytes`
  return { code: 'payload_too_large', message, close: CLOSE.tooLong }
}

/** A goodbye has room for 123 bytes; a character has three at most, or four of two. */
function shortened(reason: string): string {
  return Buffer.byteLength(reason) <= 123 ? reason : reason.slice(0, 41)
}
