// Writes msgpack opcodes into a buffer that is kept from one message to the next; what to write is decided above it.

const FIRST_BYTES = 2_048
/** A buffer grown beyond this is given back to the collector instead of being kept for the next message. */
const KEPT_BYTES = 64 * 1024
/** Up to here a loop over the characters beats the call of TextEncoder (measured), and the header is one byte. */
const SHORT_CHARS = 31

// The opcode with a two-byte length; the one before it has one byte, the one after it four.
const BIN16 = 0xc5
const EXT16 = 0xc8
const STR16 = 0xda
const ARRAY16 = 0xdc
const MAP16 = 0xde

export const utf8: TextEncoder = new TextEncoder()

/** Why not the encoder of @msgpack/msgpack: it reads getters twice, loses undefined and -0, and cannot name a path. */
export class MsgpackWriter {
  protected bytes: Uint8Array<ArrayBuffer>
  protected pos = 0
  private view: DataView<ArrayBuffer>

  constructor(firstBytes: number = FIRST_BYTES) {
    this.bytes = new Uint8Array(firstBytes)
    this.view = new DataView(this.bytes.buffer)
  }

  /** Makes it ready for another message. */
  reset(): void {
    this.pos = 0
    if (this.bytes.length > KEPT_BYTES) this.resize(FIRST_BYTES)
  }

  protected written(): Uint8Array<ArrayBuffer> {
    return this.bytes.slice(0, this.pos)
  }

  /** Called where `size` more bytes do not fit. */
  protected grow(size: number): void {
    this.resize(Math.max(this.bytes.length * 2, this.pos + size))
  }

  protected reserve(size: number): void {
    if (this.pos + size > this.bytes.length) this.grow(size)
  }

  protected writeByte(byte: number): void {
    this.reserve(1)
    this.bytes[this.pos++] = byte
  }

  protected writeNull(): void {
    this.writeByte(0xc0)
  }

  protected writeBoolean(value: boolean): void {
    this.writeByte(value ? 0xc3 : 0xc2)
  }

  /** The shortest integer that holds it, else a float64: that carries -0, NaN and the infinities too. */
  protected writeNumber(value: number): void {
    this.reserve(9)
    if (Number.isSafeInteger(value) && !Object.is(value, -0)) return this.writeInteger(value)
    this.bytes[this.pos] = 0xcb
    this.view.setFloat64(this.pos + 1, value)
    this.pos += 9
  }

  /** A lone surrogate becomes U+FFFD: UTF-8 has no bytes for it. */
  protected writeString(text: string): void {
    if (!this.writeShortAscii(text)) this.writeUtf8(text)
  }

  /** False, with nothing written, where the text is long or a character is not ASCII. */
  protected writeShortAscii(text: string): boolean {
    const { length } = text
    if (length > SHORT_CHARS) return false
    this.reserve(1 + length)
    const { bytes, pos } = this
    for (let i = 0; i < length; i++) {
      const code = text.charCodeAt(i)
      if (code > 0x7f) return false
      bytes[pos + 1 + i] = code
    }
    bytes[pos] = 0xa0 | length
    this.pos += 1 + length
    return true
  }

  protected writeUtf8(text: string): void {
    this.reserve(5 + text.length * 3)
    // Written behind the header that ASCII would need, and moved where it turns out longer.
    const guess = stringHeaderBytes(text.length)
    const start = this.pos + guess
    const { written } = utf8.encodeInto(text, this.bytes.subarray(start))
    const header = stringHeaderBytes(written)
    if (header !== guess) this.bytes.copyWithin(this.pos + header, start, start + written)
    if (header === 1) this.writeByte(0xa0 | written)
    else this.writeLength(STR16, written)
    this.pos += written
  }

  protected writeBinary(data: Uint8Array): void {
    this.writeLength(BIN16, data.length)
    this.writeRaw(data)
  }

  /** The items follow. */
  protected writeArrayHeader(items: number): void {
    if (items < 16) this.writeByte(0x90 | items)
    else this.writeLength(ARRAY16, items, 2)
  }

  /** Key, value, key, value … follow. */
  protected writeMapHeader(entries: number): void {
    if (entries < 16) this.writeByte(0x80 | entries)
    else this.writeLength(MAP16, entries, 2)
  }

  /** As many bytes of data follow. */
  protected writeExtHeader(type: number, size: number): void {
    if (size === 1) this.writeByte(0xd4)
    else this.writeLength(EXT16, size)
    this.writeByte(type)
  }

  protected writeRaw(data: Uint8Array): void {
    this.reserve(data.length)
    this.bytes.set(data, this.pos)
    this.pos += data.length
  }

  private resize(size: number): void {
    const written = this.bytes.subarray(0, this.pos)
    this.bytes = new Uint8Array(size)
    this.bytes.set(written)
    this.view = new DataView(this.bytes.buffer)
  }

  private writeInteger(value: number): void {
    const { bytes, view, pos } = this
    const op = value < 0 ? 0xd0 : 0xcc // of one byte; the wider ones follow it
    const span = value < 0 ? -value * 2 - 1 : value // int8 reaches as far below zero as half of what uint8 counts
    bytes[pos] = op
    if (value >= -0x20 && value < 0x80) {
      bytes[pos] = value
      this.pos += 1
    } else if (span < 0x100) {
      bytes[pos + 1] = value
      this.pos += 2
    } else if (span < 0x1_0000) {
      bytes[pos] = op + 1
      view.setUint16(pos + 1, value)
      this.pos += 3
    } else if (span < 0x1_0000_0000) {
      bytes[pos] = op + 2
      view.setUint32(pos + 1, value)
      this.pos += 5
    } else {
      bytes[pos] = op + 3
      view.setUint32(pos + 1, Math.floor(value / 0x1_0000_0000))
      view.setUint32(pos + 5, value)
      this.pos += 9
    }
  }

  private writeLength(op16: number, length: number, fewestBytes: 1 | 2 = 1): void {
    this.reserve(5)
    const { bytes, view, pos } = this
    if (length < 0x100 && fewestBytes === 1) {
      bytes[pos] = op16 - 1
      bytes[pos + 1] = length
      this.pos += 2
    } else if (length < 0x1_0000) {
      bytes[pos] = op16
      view.setUint16(pos + 1, length)
      this.pos += 3
    } else {
      bytes[pos] = op16 + 1
      view.setUint32(pos + 1, length)
      this.pos += 5
    }
  }
}

function stringHeaderBytes(length: number): number {
  if (length < 32) return 1
  if (length < 0x100) return 2
  return length < 0x1_0000 ? 3 : 5
}
