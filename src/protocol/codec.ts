// Payloads: the values of users (arguments, results, errors, progress) as the bytes that everything between the two ends
// passes on unread. payload-format.ts says what they look like.
import { CallplaneError } from './errors.ts'
import { EXT_TYPES, FORMAT } from './payload-format.ts'
import { PayloadReader } from './payload-reader.ts'
import { PayloadWriter } from './payload-writer.ts'
import { scanMsgpack } from './scan.ts'

/** Taken while in use: a getter of the user's may encode something in its turn. */
let spareWriter: PayloadWriter | null = new PayloadWriter()

/**
 * Encodes a value so that it arrives as it is, or throws here, at the sender. `root` begins the path in the message:
 * `args[1].items[3].fn: functions cannot be sent`.
 *
 * What arrives: all that JSON has, undefined, NaN, ±Infinity, -0, bigint, Date, Map, Set, RegExp (without lastIndex), URL,
 * typed arrays, DataView, ArrayBuffer, Error. Changed on the way: a Buffer becomes a Uint8Array; an object without a
 * prototype a plain one; a view brings its own bytes only, not the buffer around them; one object in two places becomes
 * two; an error of a class that only the sender has becomes the next class that both have, with its name kept.
 *
 * Throws `not_serializable` (functions, symbols, instances of classes, cycles, holes in arrays, the key `__proto__`,
 * nesting over MAX_DEPTH) and `payload_too_large` (MAX_PAYLOAD_BYTES, MAX_NODES).
 */
export function encodePayload(value: unknown, root: string): Uint8Array<ArrayBuffer> {
  const writer = spareWriter ?? new PayloadWriter()
  spareWriter = null
  try {
    return writer.encode(value, root)
  } finally {
    writer.reset()
    spareWriter = writer
  }
}

/** Throws `invalid_msgpack`, and `encrypted` where the payload must be decrypted first; nothing else, whatever the bytes. */
export function decodePayload(bytes: Uint8Array): unknown {
  checkFormat(bytes[0])
  scanMsgpack(bytes, EXT_TYPES, 1)
  try {
    return new PayloadReader(bytes, 1).readValue()
  } catch (thrown) {
    if (thrown instanceof CallplaneError) throw thrown
    throw new CallplaneError('invalid_msgpack', `The payload cannot be decoded: ${String(thrown).slice(0, 200)}.`, {
      cause: thrown,
    })
  }
}

function checkFormat(format: number | undefined): void {
  if (format === FORMAT.plain) return
  if (format === FORMAT.encrypted) throw new CallplaneError('encrypted')
  const what = format === undefined ? 'is empty' : `begins with the unknown format byte ${format}`
  throw new CallplaneError('invalid_msgpack', `The payload ${what} (at byte 0).`)
}
