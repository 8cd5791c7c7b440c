// The bodies of requests and answers: plain msgpack of plain objects, which both ends of the protocol know the shape of.
import { CallplaneError } from './errors.ts'
import { MsgpackReader } from './msgpack-reader.ts'
import { MsgpackWriter } from './msgpack-writer.ts'
import { scanMsgpack } from './scan.ts'

class BodyWriter extends MsgpackWriter {
  encode(value: unknown): Uint8Array<ArrayBuffer> {
    this.writeValue(value)
    return this.written()
  }

  private writeValue(value: unknown): void {
    switch (typeof value) {
      case 'string':
        return this.writeString(value)
      case 'number':
        return this.writeNumber(value)
      case 'boolean':
        return this.writeBoolean(value)
      case 'undefined':
        return this.writeNull()
      case 'object':
        return value === null ? this.writeNull() : this.writeObject(value)
      default:
        throw new TypeError(`A body cannot hold a ${typeof value}.`)
    }
  }

  private writeObject(value: object): void {
    if (value instanceof Uint8Array) return this.writeBinary(value)
    if (Array.isArray(value)) return this.writeArray(value)
    const entries = Object.entries(value).filter(([, member]) => member !== undefined)
    this.writeMapHeader(entries.length)
    for (const [key, member] of entries) {
      this.writeString(key)
      this.writeValue(member)
    }
  }

  private writeArray(items: readonly unknown[]): void {
    this.writeArrayHeader(items.length)
    for (const item of items) this.writeValue(item)
  }
}

/** Taken while in use, should a getter encode another body. */
let spareWriter: BodyWriter | null = new BodyWriter()

/** Null, booleans, numbers, strings, Uint8Array, arrays and plain objects; a property that is undefined is left out. */
export function encodeBody(value: unknown): Uint8Array<ArrayBuffer> {
  const writer = spareWriter ?? new BodyWriter()
  spareWriter = null
  try {
    return writer.encode(value)
  } finally {
    writer.reset()
    spareWriter = writer
  }
}

/** Throws `invalid_msgpack`. Binary data comes as views of `bytes`, which must not be written to after. */
export function decodeBody(bytes: Uint8Array): unknown {
  scanMsgpack(bytes)
  try {
    return new MsgpackReader(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length)).readValue()
  } catch (thrown) {
    throw new CallplaneError('invalid_msgpack', `The body cannot be decoded: ${String(thrown)}.`, { cause: thrown })
  }
}
