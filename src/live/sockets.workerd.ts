// The sockets of an object's clients: what they bring, and how they are told, whatever state they are in.
import type { Request as WorkerRequest, WebSocket as WorkerSocket } from '@cloudflare/workers-types'
import { CallplaneError } from '../protocol/errors.ts'
import { MAX_LIVE_FRAME_BYTES } from '../protocol/limits.ts'
import type { Connection, Receiver } from './connection.ts'
import { cookieKey } from './cookie-key.ts'
import { errorFrame } from './fault.ts'
import { packed } from './msgpack-frames.ts'

/** WebSocket.OPEN, by the standard; workerd names it otherwise. */
export const OPEN = 1
/** The codes of RFC 6455. */
const CLOSE = { notText: 1003, refused: 1008, tooLong: 1009, again: 1012 } as const

/** Those whose clients speak msgpack, in this life of the object. */
const speakingMsgpack = new WeakSet<WorkerSocket>()

export function noteMsgpack(sockets: Iterable<WorkerSocket>): void {
  for (const socket of sockets) speakingMsgpack.add(socket)
}

const speaksMsgpack = (socket: WorkerSocket): boolean => speakingMsgpack.has(socket)

export function keyOf(request: WorkerRequest): string | undefined {
  const header = (name: string): string | undefined => request.headers.get(name) ?? undefined
  const { protocol, host } = new URL(request.url)
  const page = { cookie: header('cookie'), origin: header('origin'), host: header('host') ?? host }
  return cookieKey(page, { isEncrypted: protocol === 'https:' })
}

/** A character has three bytes at most, or four of two. */
function isTooLong(message: string | Uint8Array): boolean {
  if (typeof message !== 'string') return message.length > MAX_LIVE_FRAME_BYTES
  if (message.length * 3 <= MAX_LIVE_FRAME_BYTES) return false
  return message.length > MAX_LIVE_FRAME_BYTES || new TextEncoder().encode(message).length > MAX_LIVE_FRAME_BYTES
}

/** What a client has sent. What is no frame ends its connection. */
export function receive(socket: WorkerSocket, receiver: Receiver, message: string | ArrayBuffer): void {
  const frame = typeof message === 'string' ? message : new Uint8Array(message)
  if (typeof frame !== 'string' && !speaksMsgpack(socket)) {
    receiver.refuse('invalid_request', 'a frame is text, and this one is binary')
    close(socket, CLOSE.notText, 'a frame is text')
  } else if (isTooLong(frame)) {
    const reason = `a frame is at most ${MAX_LIVE_FRAME_BYTES} bytes`
    receiver.refuse('payload_too_large', reason)
    close(socket, CLOSE.tooLong, reason)
  } else receiver.receive(frame)
}

function send(socket: WorkerSocket, frame: string): void {
  try {
    socket.send(speaksMsgpack(socket) ? packed(frame) : frame)
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
