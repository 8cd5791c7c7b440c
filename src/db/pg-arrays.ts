// Arrays in Postgres's binary form, for the adapter that can send it: half the bytes of the text, and nobody parses.
import type { SqlScalar } from './sql.ts'

const OIDS = { bool: 16, bytea: 17, int8: 20, text: 25, uuid: 2950 } as const
export type ElementType = keyof typeof OIDS

/** The types of a statement's array parameters by their places, as its casts tell: `$2::uuid[]`. */
export function arrayTypes(text: string): ReadonlyMap<number, ElementType> {
  const casts = text.matchAll(/\$(\d+)::(bool|bytea|int8|text|uuid)\[\]/g)
  return new Map(Array.from(casts, ([, place, type]) => [Number(place), type as ElementType])) // one of those in the pattern
}

const HEADER_BYTES = 20
const NULL_LENGTH = -1

/** Dimensions, whether there are nulls, the type, the length, where it begins; then each element behind its length. */
export function encodeBinaryArray(values: readonly SqlScalar[], type: ElementType): Uint8Array {
  let bound = HEADER_BYTES
  for (const value of values) bound += 4 + maxBytes(value)
  const bytes = new Uint8Array(bound)
  const view = new DataView(bytes.buffer)
  view.setInt32(0, values.length === 0 ? 0 : 1)
  view.setInt32(4, values.includes(null) ? 1 : 0)
  view.setInt32(8, OIDS[type])
  if (values.length === 0) return bytes.subarray(0, 12)
  view.setInt32(12, values.length)
  view.setInt32(16, 1)
  let offset = HEADER_BYTES
  for (const value of values) {
    const length = value === null ? NULL_LENGTH : WRITERS[type](value, offset + 4, bytes, view)
    view.setInt32(offset, length)
    offset += 4 + Math.max(length, 0)
  }
  return bytes.subarray(0, offset)
}

function maxBytes(value: SqlScalar): number {
  if (typeof value === 'string') return Math.max(3 * value.length, 16)
  return value instanceof Uint8Array ? value.length : 8
}

/** Writes the value at the offset, and returns its length. */
type Writer = (value: Exclude<SqlScalar, null>, at: number, bytes: Uint8Array, view: DataView) => number

const encoder = new TextEncoder()

const WRITERS: Record<ElementType, Writer> = {
  bool(value, at, bytes) {
    if (typeof value !== 'boolean') throw wrongType('bool', value)
    bytes[at] = value ? 1 : 0
    return 1
  },
  bytea(value, at, bytes) {
    if (!(value instanceof Uint8Array)) throw wrongType('bytea', value)
    bytes.set(value, at)
    return value.length
  },
  int8(value, at, _, view) {
    if (typeof value !== 'bigint' && !Number.isSafeInteger(value)) throw wrongType('int8', value)
    if (typeof value === 'bigint') {
      view.setBigInt64(at, value)
      return 8
    }
    view.setInt32(at, Math.floor(Number(value) / 2 ** 32))
    view.setInt32(at + 4, Number(value) | 0)
    return 8
  },
  text(value, at, bytes) {
    if (typeof value !== 'string') throw wrongType('text', value)
    return encoder.encodeInto(value, bytes.subarray(at)).written
  },
  uuid(value, at, bytes) {
    if (typeof value !== 'string' || value.length !== 36) throw wrongType('uuid', value)
    let to = at
    for (let from = 0; from < 36; from += 2, to++) {
      if (value[from] === '-') from++
      const byte = 16 * digit(value, from) + digit(value, from + 1)
      if (Number.isNaN(byte)) throw wrongType('uuid', value)
      bytes[to] = byte
    }
    if (to - at !== 16) throw wrongType('uuid', value)
    return 16
  },
}

/** NaN where the character is no digit. */
function digit(text: string, at: number): number {
  const code = text.charCodeAt(at) | 0x20 // small letters; digits stay
  if (code >= 0x30 && code <= 0x39) return code - 0x30
  return code >= 0x61 && code <= 0x66 ? code - 0x57 : Number.NaN
}

function wrongType(type: ElementType, value: unknown): TypeError {
  return new TypeError(
    `an element of a ${type}[] cannot be ${typeof value === 'string' ? JSON.stringify(value) : typeof value}`,
  )
}
