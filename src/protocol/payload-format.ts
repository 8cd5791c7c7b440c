// What payload bytes look like, for the writer, the reader and an SDK in another language. A payload is one format byte
// and one msgpack document:
//
//   null, boolean, string, array, map   as msgpack has them; map keys are strings, the key `__proto__` is refused
//   number                              the shortest integer that holds it, else float64 (also -0, NaN, ±Infinity)
//   extensions of the types in EXT      the values that msgpack lacks and that hold no other value
//   [tag, …]                            those that do: an array that begins with the three bytes d4 07 and one of TAG
//
//     [Map, key, value, key, value, …]
//     [Set, member, member, …]
//     [RegExp, source, flags]
//     [Error, class, hidden, name, value, name, value, …]    the first `hidden` of its properties are not enumerable
//
// Tagged arrays, because an extension that held msgpack would hide its nesting from the one scan that bounds it all.
// `bin` is read as a Uint8Array too; the extension is what the SDK writes, since it names the kind.

/** The first byte of a payload. */
export const FORMAT = {
  plain: 0x01,
  /** End-to-end encrypted: an envelope that only the SDK with its keys can open. */
  encrypted: 0x02,
} as const

export const EXT = {
  /** One byte, zero. */
  undefined: 1,
  /** Hexadecimal digits in ASCII, after a `-` where it is negative. */
  bigint: 2,
  /** Milliseconds since 1970 as a float64, NaN for an invalid date. */
  date: 3,
  /** The href in UTF-8. */
  url: 4,
  /** A string with lone surrogates, which UTF-8 cannot carry: its UTF-16 code units, little-endian. */
  utf16: 5,
  /** One byte, an index into BINARY_KINDS, then the bytes, little-endian. */
  binary: 6,
  /** One byte, of TAG. */
  tag: 7,
} as const

export const EXT_TYPES: ReadonlySet<number> = new Set(Object.values(EXT))

/** Extension with one byte of data: tags have this form alone. */
export const TAG_OPCODE = 0xd4

export const TAG = { Map: 0, Set: 1, RegExp: 2, Error: 3 } as const

/** The place of a name is on the wire: append only. */
export const BINARY_KINDS: readonly string[] = [
  'ArrayBuffer',
  'DataView',
  'Uint8Array',
  'Uint8ClampedArray',
  'Int8Array',
  'Uint16Array',
  'Int16Array',
  'Uint32Array',
  'Int32Array',
  'Float16Array',
  'Float32Array',
  'Float64Array',
  'BigUint64Array',
  'BigInt64Array',
]
