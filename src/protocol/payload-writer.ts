// One walk over a user's value that checks and writes it at once: each property is read a single time, so that a getter
// cannot show one value to the check and another to the wire, and what cannot be sent is refused with its path.
import { classNameOfError, hiddenPropertiesOf, isError } from './error-classes.ts'
import { CallplaneError } from './errors.ts'
import { MAX_DEPTH, MAX_NODES, MAX_PAYLOAD_BYTES } from './limits.ts'
import { MsgpackWriter, utf8 } from './msgpack-writer.ts'
import { BINARY_KINDS, EXT, FORMAT, TAG } from './payload-format.ts'
import { type Key, pathOf } from './payload-path.ts'
import { isRefusal, reasonOf, Refusal, refuseClass } from './refusal.ts'
import { bytesOf, classNameOf, enumerableSymbols, isBuiltIn, isPlain, partsOfMap, partsOfSet } from './value-kinds.ts'

const ZERO = new Uint8Array(1)

export class PayloadWriter extends MsgpackWriter {
  // The containers around the value being written, and where in each it stands: a path is made of them when one is needed.
  private readonly holders: (object | undefined)[] = []
  private readonly keys: (Key | undefined)[] = []
  protected depth = 0
  private nodes = 0
  private droppedBytes = 0

  /** Throws `not_serializable` with a path that begins with `root`, or `payload_too_large`. */
  encode(value: unknown, root: string): Uint8Array<ArrayBuffer> {
    try {
      this.nodes = 1
      this.droppedBytes = 0
      this.writeByte(FORMAT.plain)
      this.writeValue(value)
    } catch (thrown) {
      throw this.explain(thrown, root)
    }
    const size = this.droppedBytes + this.pos
    if (size <= MAX_PAYLOAD_BYTES) return this.written()
    throw new CallplaneError(
      'payload_too_large',
      `${root}: ${size} bytes when encoded, the limit is ${MAX_PAYLOAD_BYTES}; send a reference to the data`,
    )
  }

  /** After an error too: what was being written is forgotten, so that it can be collected. */
  override reset(): void {
    super.reset()
    this.leave(0)
  }

  protected writeValue(value: unknown): void {
    switch (typeof value) {
      case 'string':
        return this.writeText(value)
      case 'number':
        return this.writeNumber(value)
      case 'boolean':
        return this.writeBoolean(value)
      case 'undefined':
        return this.writeExt(EXT.undefined, ZERO)
      case 'bigint':
        return this.writeExt(EXT.bigint, utf8.encode(value.toString(16)))
      case 'object':
        return value === null ? this.writeNull() : this.writeObject(value)
      default:
        throw new Refusal(`${typeof value}s cannot be sent`)
    }
  }

  /** Reads and writes one member of the innermost container. */
  protected writeMember(holder: object, key: string | number): void {
    this.keys[this.depth - 1] = key
    this.writeValue((holder as Record<Key, unknown>)[key]) // any object may be asked for any key
  }

  protected writeText(text: string): void {
    this.writeWholeText(text)
  }

  private writeWholeText(text: string): void {
    if (this.writeShortAscii(text)) return
    if (!text.isWellFormed()) this.writeExt(EXT.utf16, codeUnitsOf(text))
    else if (text.length > MAX_PAYLOAD_BYTES) this.drop(utf8.encode(text).length)
    else this.writeUtf8(text)
  }

  /** Opens a container of so many msgpack values; `leave` closes it. */
  protected enter(holder: object, nodes: number): void {
    if (this.depth === MAX_DEPTH) this.refuseDepth(holder)
    if (this.nodes + nodes > MAX_NODES) {
      throw new Refusal(`a payload has at most ${MAX_NODES} values; send a reference to the data`, 'payload_too_large')
    }
    this.nodes += nodes
    this.keys[this.depth] = undefined
    this.holders[this.depth++] = holder
  }

  protected isInside(holder: object): boolean {
    return this.holders.includes(holder)
  }

  /** Back to `depth`, or one up. What is left behind is forgotten, so that it can be collected. */
  protected leave(depth: number = this.depth - 1): void {
    while (this.depth > depth) this.holders[--this.depth] = undefined
  }

  /** Over the limit bytes are dropped and only counted, to tell the whole size. */
  protected drop(size: number): void {
    this.droppedBytes += size
  }

  protected override grow(size: number): void {
    if (this.pos > MAX_PAYLOAD_BYTES) {
      this.drop(this.pos)
      this.pos = 0
    }
    if (this.pos + size > this.bytes.length) super.grow(size)
  }

  protected override writeRaw(data: Uint8Array): void {
    if (data.length > MAX_PAYLOAD_BYTES) this.drop(data.length)
    else super.writeRaw(data)
  }

  private writeObject(value: object): void {
    if (Array.isArray(value)) return this.writeArray(value)
    if (isPlain(value)) return this.writePlainObject(value)
    if (isError(value)) return this.writeError(value)
    this.writeBuiltIn(value)
  }

  private writeArray(array: readonly unknown[]): void {
    if (Object.getPrototypeOf(array) !== Array.prototype && classNameOf(array) !== 'Array') refuseClass(array)
    // Holes would arrive as undefined, and properties beside the items (a RegExp match has some) not at all. This costs a
    // fifth of Object.keys, which is asked only where a hole and a property could hide each other.
    const items = Object.values(array)
    this.enter(array, items.length)
    if (items.length !== array.length || array.includes(undefined)) this.checkKeys(array)
    this.writeArrayHeader(items.length)
    for (let i = 0; i < items.length; i++) this.writeMember(items, i)
    this.leave()
  }

  private checkKeys(array: readonly unknown[]): void {
    const keys = Object.keys(array) // the indices in order, then all others
    const { length } = array
    for (let i = 0; i < length; i++) if (keys[i] !== String(i)) this.refuseMember(i, 'holes in an array cannot be sent')
    const other = keys[length]
    if (other !== undefined) this.refuseMember(other, 'properties of an array cannot be sent, only its items')
  }

  private writePlainObject(object: object): void {
    const keys = Object.keys(object)
    this.enter(object, keys.length * 2)
    for (const symbol of enumerableSymbols(object)) this.refuseMember(symbol, 'properties with a symbol cannot be sent')
    this.writeMapHeader(keys.length)
    for (const key of keys) {
      this.writeKey(key)
      this.writeMember(object, key)
    }
    this.leave()
  }

  private writeKey(key: string): void {
    if (key === '__proto__') this.refuseMember(key, 'the key __proto__ cannot be sent')
    if (this.writeShortAscii(key)) return
    if (!key.isWellFormed()) this.refuseMember(key, 'a key with a lone surrogate cannot be sent')
    if (key.length > MAX_PAYLOAD_BYTES) this.drop(utf8.encode(key).length)
    else this.writeUtf8(key)
  }

  private writeError(error: object): void {
    const hidden = hiddenPropertiesOf(error)
    const names = [...hidden, ...Object.keys(error)]
    const symbols = enumerableSymbols(error)
    this.openTagged(error, TAG.Error, 2 + (names.length + symbols.length) * 2)
    this.writeString(classNameOfError(error))
    this.writeNumber(hidden.length)
    for (const name of names) {
      this.writeKey(name)
      this.writeMember(error, name)
    }
    // Refused, as any symbol is; where an error is sent as far as it goes, this name says what was left out.
    for (const symbol of symbols) {
      this.writeKey(String(symbol))
      this.writeMember({ [String(symbol)]: symbol }, String(symbol))
    }
    this.leave()
  }

  private writeBuiltIn(value: object): void {
    const className = classNameOf(value)
    const kind = className === 'Buffer' ? 'Uint8Array' : className
    if (!isBuiltIn(value, kind)) return refuseClass(value)
    switch (kind) {
      case 'Date':
        return this.writeExt(EXT.date, float64(Date.prototype.getTime.call(checkBare(value))))
      case 'URL':
        return this.writeExt(EXT.url, utf8.encode(URL.prototype.toString.call(checkBare(value))))
      case 'RegExp':
        return this.writeRegExp(checkBare(value))
      case 'Map':
        return this.writeTagged(value, TAG.Map, partsOfMap(checkBare(value)))
      case 'Set':
        return this.writeTagged(value, TAG.Set, partsOfSet(checkBare(value)))
      default:
        return this.writeBytes(value, kind)
    }
  }

  private writeRegExp(value: object): void {
    const { source, flags } = value as RegExp // it is one, by name and by tag
    this.openTagged(value, TAG.RegExp, 2)
    // Whole, since half a pattern may be none at all.
    this.writeWholeText(source)
    this.writeWholeText(flags)
    this.leave()
  }

  private writeTagged(holder: object, tag: number, members: readonly unknown[]): void {
    this.openTagged(holder, tag, members.length)
    for (let i = 0; i < members.length; i++) this.writeMember(members, i)
    this.leave()
  }

  private openTagged(holder: object, tag: number, members: number): void {
    this.enter(holder, 1 + members)
    this.writeArrayHeader(1 + members)
    this.writeExtHeader(EXT.tag, 1)
    this.writeByte(tag)
  }

  private writeBytes(value: object, kind: string): void {
    const index = BINARY_KINDS.indexOf(kind)
    const data = index === -1 ? null : bytesOf(value, kind)
    if (data === null) return refuseClass(value)
    this.writeExtHeader(EXT.binary, 1 + data.length)
    this.writeByte(index)
    this.writeRaw(data)
  }

  private writeExt(type: number, data: Uint8Array): void {
    this.writeExtHeader(type, data.length)
    this.writeRaw(data)
  }

  private refuseMember(key: Key, reason: string): never {
    this.keys[this.depth - 1] = key
    throw new Refusal(reason)
  }

  /** A cycle is found here, since only one goes on for ever: to look for it at each step would cost every call. */
  private refuseDepth(holder: object): never {
    const holders = [...this.holders.slice(0, this.depth), holder]
    const again = holders.findIndex((container, i) => holders.indexOf(container) < i)
    if (again === -1) throw new Refusal(`values cannot nest deeper than ${MAX_DEPTH}`)
    this.leave(again) // where the cycle closes
    throw new Refusal('cycles cannot be sent')
  }

  private explain(thrown: unknown, root: string): CallplaneError {
    const message = `${pathOf(root, this.holders.slice(0, this.depth), this.keys)}: ${reasonOf(thrown)}`
    if (isRefusal(thrown)) return new CallplaneError(thrown.code, message)
    return new CallplaneError('not_serializable', message, { cause: thrown })
  }
}

/** A Map, Date … with properties beside its content would arrive without them. */
function checkBare<T extends object>(value: T): T {
  const [extra] = Object.keys(value)
  if (extra === undefined) return value
  throw new Refusal(`its property ${JSON.stringify(extra.slice(0, 80))} cannot be sent, only its content`)
}

function float64(value: number): Uint8Array {
  const data = new Uint8Array(8)
  new DataView(data.buffer).setFloat64(0, value)
  return data
}

function codeUnitsOf(text: string): Uint8Array {
  const data = new DataView(new ArrayBuffer(text.length * 2))
  for (let i = 0; i < text.length; i++) data.setUint16(i * 2, text.charCodeAt(i), true)
  return new Uint8Array(data.buffer)
}
