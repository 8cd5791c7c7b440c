// A WebSocket to another peer, which notices when that one is silent.
import { WebSocket } from 'ws'
import type { Dial } from './piece-feed.ts'

const HANDSHAKE_MS = 5_000
/** Asked so often whether it is there; without an answer by the next time, it is not. */
const KEEP_ALIVE_MS = 5_000
/** A snapshot of a piece is one frame. */
const MAX_FRAME_BYTES = 512 * 1024 * 1024

export const dial: Dial = (url, { opened, frame, closed }) => {
  const socket = new WebSocket(url, {
    handshakeTimeout: HANDSHAKE_MS,
    maxPayload: MAX_FRAME_BYTES,
    perMessageDeflate: false,
  })
  let hasAnswered = true
  const keepAlive = setInterval(() => {
    // Once what has come in the meantime is read: a process that was held up must not blame the other.
    setImmediate(() => {
      if (socket.readyState !== socket.OPEN) return
      if (!hasAnswered) return socket.terminate()
      hasAnswered = false
      socket.ping()
    })
  }, KEEP_ALIVE_MS)
  keepAlive.unref()
  let reason = ''
  socket.on('open', opened)
  socket.on('message', (data: Buffer) => {
    hasAnswered = true
    frame(data.toString('utf8'))
  })
  socket.on('pong', () => (hasAnswered = true))
  socket.on('error', (error) => (reason = error.message))
  socket.on('close', (code) => {
    clearInterval(keepAlive)
    closed(reason || `closed with ${code}`)
  })
  return {
    send(text) {
      if (socket.readyState === socket.OPEN) socket.send(text)
    },
    close: () => socket.close(),
  }
}
