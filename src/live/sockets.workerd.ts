// The sockets of an object's clients: what they bring, and how they are told, whatever state they are in.
import type { Request as WorkerRequest, WebSocket as WorkerSocket } from '@cloudflare/workers-types'
import { CallplaneError } from '../protocol/errors.ts'
import { MAX_LIVE_FRAME_BYTES } from '../protocol/limits.ts'
import type { Connection } from './connection.ts'
import { cookieKey } from './cookie-key.ts'
import { errorFrame } from './fault.ts'

/** WebSocket.OPEN, by the standard; workerd names it otherwise. */
export const OPEN = 1
/** The codes of RFC 6455. */
export const CLOSE = { notText: 1003, refused: 1008, tooLong: 1009, again: 1012 } as const

export function keyOf(request: WorkerRequest): string | undefined {
  const header = (name: string): string | undefined => request.headers.get(name) ?? undefined
  const { protocol, host } = new URL(request.url)
  const page = { cookie: header('cookie'), origin: header('origin'), host: header('host') ?? host }
  return cookieKey(page, { isEncrypted: protocol === 'https:' })
}

/** A character has three bytes at most, or four of two. */
export function isTooLong(message: string): boolean {
  if (message.length * 3 <= MAX_LIVE_FRAME_BYTES) return false
  return message.length > MAX_LIVE_FRAME_BYTES || new TextEncoder().encode(message).length > MAX_LIVE_FRAME_BYTES
}

function send(socket: WorkerSocket, frame: string): void {
  try {
    socket.send(frame)
  } catch {
    // It is just going: its close is told.
  }
}

export function close(socket: WorkerSocket, code: number, reason: string): void {
  try {
    // A goodbye has room for 123 bytes; a character has three at most, or four of two.
    socket.close(code, reason.slice(0, 41))
  } catch {
    // It was closed.
  }
}

export function end(socket: WorkerSocket, error: CallplaneError, code: number = CLOSE.refused): void {
  send(socket, errorFrame(null, error))
  close(socket, code, error.code)
}

/** It had asked for something in an earlier life of the object: whoever connects anew asks again. */
export function endMoved(socket: WorkerSocket): void {
  end(socket, new CallplaneError('closed', 'the peer was moved before it answered: connect anew'), CLOSE.again)
}

export function connectionOf(socket: WorkerSocket): Connection {
  return {
    send: (frame) => send(socket, frame),
    get bufferedBytes() {
      return unreadBytesOf(socket)
    },
    close: (reason) => close(socket, CLOSE.refused, reason),
  }
}

/** Not every workerd says it. Where it does not, what a client leaves unread is bounded by the runtime, which cuts it off. */
function unreadBytesOf(socket: { bufferedAmount?: number }): number {
  return socket.bufferedAmount ?? 0
}
