// Turns the bytes of a payload, once scanned, into the user's value again.
import { buildError } from './error-classes.ts'
import { CallplaneError } from './errors.ts'
import { MsgpackReader, strictUtf8 } from './msgpack-reader.ts'
import { BINARY_KINDS, EXT, TAG, TAG_OPCODE } from './payload-format.ts'

export class PayloadReader extends MsgpackReader {
  /** A copy: what is decoded must not change with the buffer that it came in. */
  protected override readBinary(size: number): Uint8Array {
    return new Uint8Array(this.readBytes(size))
  }

  protected override readArray(length: number): unknown {
    const isTagged = length > 0 && this.bytes[this.pos] === TAG_OPCODE && this.bytes[this.pos + 1] === EXT.tag
    if (!isTagged) return super.readArray(length)
    this.pos += 2
    const tag = this.readByte()
    return build(
      tag,
      Array.from({ length: length - 1 }, () => this.readValue()),
    )
  }

  protected override readExtension(size: number): unknown {
    const type = this.readByte()
    const data = this.readBytes(size)
    switch (type) {
      case EXT.undefined:
        return undefined
      case EXT.bigint:
        return readBigint(strictUtf8.decode(data))
      case EXT.date:
        return readDate(data)
      case EXT.url:
        return new URL(strictUtf8.decode(data))
      case EXT.utf16:
        return readUtf16(data)
      case EXT.binary:
        return readBinary(data)
      default:
        return refuse(`the extension type ${type} stands where it means nothing`)
    }
  }
}

function readBigint(digits: string): bigint {
  return digits.startsWith('-') ? -BigInt(`0x${digits.slice(1)}`) : BigInt(`0x${digits}`)
}

function readDate(data: Uint8Array): Date {
  const ms = new DataView(data.buffer, data.byteOffset, data.byteLength).getFloat64(0)
  const date = new Date(ms)
  if (!Object.is(date.getTime(), ms)) refuse(`${ms} ms is out of the range of dates`)
  return date
}

function readUtf16(data: Uint8Array): string {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  let units = ''
  for (let i = 0; i < data.length; i += 2) units += String.fromCharCode(view.getUint16(i, true))
  return units
}

/** In a buffer of its own: aligned for its items, and without a view of its neighbours. */
function readBinary(data: Uint8Array): unknown {
  const kind = BINARY_KINDS[data[0] ?? -1] ?? refuse('a kind of binary data is not known')
  const { buffer } = new Uint8Array(data.subarray(1)) // not data.slice: of a Node Buffer, that is a view again
  if (kind === 'ArrayBuffer') return buffer
  // By name, since a runtime may lack the youngest (Float16Array).
  const View = (globalThis as unknown as Record<string, (new (buffer: ArrayBufferLike) => unknown) | undefined>)[kind]
  if (View === undefined) refuse(`this runtime has no ${kind}`)
  return new View(buffer)
}

function build(tag: number, parts: unknown[]): unknown {
  switch (tag) {
    case TAG.Map:
      return new Map(pairsOf(parts))
    case TAG.Set:
      return new Set(parts)
    case TAG.RegExp:
      return readRegExp(parts)
    case TAG.Error:
      return readError(parts)
    default:
      return refuse(`the tag ${tag} is not known`)
  }
}

function pairsOf(parts: unknown[]): [unknown, unknown][] {
  if (parts.length % 2 !== 0) refuse('a key has no value')
  return Array.from({ length: parts.length / 2 }, (_, i) => [parts[i * 2], parts[i * 2 + 1]])
}

function readRegExp([source, flags]: unknown[]): RegExp {
  if (typeof source !== 'string' || typeof flags !== 'string') return refuse('a RegExp is not two strings')
  return new RegExp(source, flags)
}

function readError([className, hiddenCount, ...parts]: unknown[]): Error {
  const properties = new Map<string, unknown>()
  for (const [name, value] of pairsOf(parts)) {
    if (typeof name !== 'string' || name === '__proto__') refuse('an error has a property that cannot be')
    properties.set(name, value)
  }
  return buildError(className, Number(hiddenCount), properties)
}

function refuse(what: string): never {
  throw new CallplaneError('invalid_msgpack', `The payload is not one that is accepted here: ${what}.`)
}
