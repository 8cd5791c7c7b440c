// Frames of live queries as msgpack, for clients that ask for it: a binary message holds one document, of the values of JSON.
import { CallplaneError } from '../protocol/errors.ts'
import { parseLiveFrame, type ParsedRequest } from '../protocol/live.ts'
import { decodeBody, encodeBody } from '../protocol/wire.ts'

/** The subprotocol that a client offers for it. */
export const MSGPACK_PROTOCOL = 'callplane.msgpack'

/** `offered`: the header sec-websocket-protocol of a client. */
export function offersMsgpack(offered: string | null): boolean {
  return offered?.split(',').some((protocol) => protocol.trim() === MSGPACK_PROTOCOL) ?? false
}

let last = { frame: '', bytes: new Uint8Array() }

/** A frame that goes to many is the same text for all of them, and packed once. */
export function packed(frame: string): Uint8Array {
  if (last.frame !== frame) last = { frame, bytes: encodeBody(JSON.parse(frame)) }
  return last.bytes
}

/** As JSON, each byte of it would be some ten. */
function refuseBinary(_: string, value: unknown): unknown {
  if (!(value instanceof Uint8Array)) return value
  throw new CallplaneError('invalid_msgpack', 'a frame has the values of JSON, and this one has binary data')
}

export function parsePackedFrame(bytes: Uint8Array): ParsedRequest[] {
  try {
    return parseLiveFrame(JSON.stringify(decodeBody(bytes), refuseBinary))
  } catch (error) {
    if (error instanceof CallplaneError) return [{ id: null, error }]
    throw error
  }
}
