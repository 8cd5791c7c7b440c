// Builds values from msgpack that has passed the scan: depth, lengths and keys are known to be good, so that nothing is
// checked again except text, which must be UTF-8. Why not the decoder of @msgpack/msgpack: it takes a byte order mark
// from long strings, makes other text of bytes that are none, cannot hold values in extensions, and is four times the size.
import { CallplaneError } from './errors.ts'

/** Strict, where `new TextDecoder()` puts U+FFFD for bytes that are no text, and swallows a byte order mark. */
export const strictUtf8: TextDecoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Strings up to here are looked for among those read lately: most are the keys of the object before. */
const SHORT_BYTES = 24
const lately: string[] = Array.from({ length: 512 }, () => '')

export class MsgpackReader {
  protected readonly bytes: Uint8Array
  protected pos: number
  private lazyView: DataView | null = null

  constructor(bytes: Uint8Array, start = 0) {
    this.bytes = bytes
    this.pos = start
  }

  readValue(): unknown {
    const op = this.readByte()
    if (op < 0x80) return op
    if (op < 0x90) return this.readMap(op & 0x0f)
    if (op < 0xa0) return this.readArray(op & 0x0f)
    if (op < 0xc0) return this.readString(op & 0x1f)
    if (op < 0xc4) return op === 0xc0 ? null : op === 0xc3
    if (op < 0xc7) return this.readBinary(this.readLength(1 << (op - 0xc4)))
    if (op < 0xca) return this.readExtension(this.readLength(1 << (op - 0xc7)))
    if (op < 0xcc) return this.readFloat(op)
    if (op < 0xd4) return this.readInteger(op)
    if (op < 0xd9) return this.readExtension(1 << (op - 0xd4))
    if (op < 0xdc) return this.readString(this.readLength(1 << (op - 0xd9)))
    if (op < 0xde) return this.readArray(this.readLength(2 << (op - 0xdc)))
    if (op < 0xe0) return this.readMap(this.readLength(2 << (op - 0xde)))
    return op - 0x100
  }

  protected readByte(): number {
    return this.bytes[this.pos++] ?? 0 // the scan has seen that it is there
  }

  /** The next bytes: a view of the input. */
  protected readBytes(size: number): Uint8Array {
    this.pos += size
    return this.bytes.subarray(this.pos - size, this.pos)
  }

  protected readBinary(size: number): Uint8Array {
    return this.readBytes(size)
  }

  protected readArray(length: number): unknown {
    const items: unknown[] = new Array(length)
    for (let i = 0; i < length; i++) items[i] = this.readValue()
    return items
  }

  /** The type is to be read first, then so many bytes of data. */
  protected readExtension(_size: number): unknown {
    throw new CallplaneError('invalid_msgpack', 'Extensions are not accepted here.')
  }

  private readMap(entries: number): Record<string, unknown> {
    const object: Record<string, unknown> = {}
    for (let i = 0; i < entries; i++) {
      const key = this.readValue() as string // so the scan found, and none is `__proto__`
      object[key] = this.readValue()
    }
    return object
  }

  private readString(size: number): string {
    if (size > SHORT_BYTES) return strictUtf8.decode(this.readBytes(size))
    const { bytes, pos } = this
    this.pos += size
    // By length and two of the bytes, which tells the keys of an object apart well enough.
    const slot = (size * 67 + (bytes[pos] ?? 0) * 7 + (bytes[pos + size - 1] ?? 0)) % lately.length
    const guess = lately[slot] ?? ''
    if (guess.length === size && isAt(bytes, pos, guess)) return guess
    const text = strictUtf8.decode(bytes.subarray(pos, pos + size))
    if (text.length === size) lately[slot] = text // ASCII alone has as many characters as bytes
    return text
  }

  private readFloat(op: number): number {
    const isSingle = op === 0xca
    this.pos += isSingle ? 4 : 8
    return isSingle ? this.view().getFloat32(this.pos - 4) : this.view().getFloat64(this.pos - 8)
  }

  private readInteger(op: number): number {
    const size = 1 << (op & 3)
    if (op < 0xd0 && size < 8) return this.readLength(size)
    const at = this.pos
    this.pos += size
    if (size === 1) return this.view().getInt8(at)
    if (size === 2) return this.view().getInt16(at)
    if (size === 4) return this.view().getInt32(at)
    const high = op < 0xd0 ? this.view().getUint32(at) : this.view().getInt32(at)
    return high * 0x1_0000_0000 + this.view().getUint32(at + 4)
  }

  /** An unsigned integer of so many bytes. */
  private readLength(size: number): number {
    const { pos } = this
    this.pos += size
    if (size === 1) return this.bytes[pos] ?? 0
    return size === 2 ? this.view().getUint16(pos) : this.view().getUint32(pos)
  }

  private view(): DataView {
    return (this.lazyView ??= new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength))
  }
}

function isAt(bytes: Uint8Array, pos: number, ascii: string): boolean {
  for (let i = 0; i < ascii.length; i++) if (bytes[pos + i] !== ascii.charCodeAt(i)) return false
  return true
}
