// Generated values of every kind that survives the trip, nested in each other.
import fc from 'fast-check'

type ViewClass = new (buffer: ArrayBuffer, byteOffset: number, length: number) => ArrayBufferView

/** Newer than lib es2024, and than some runtimes. */
const { Float16Array } = globalThis as unknown as { Float16Array?: ViewClass }

const VIEWS: ViewClass[] = [
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
  DataView,
  ...(Float16Array === undefined ? [] : [Float16Array]),
]

const ERROR_CLASSES = [Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError]

/** Keys that codecs and prototypes have tripped over, beside ordinary ones. */
const key: fc.Arbitrary<string> = fc
  .oneof(
    { weight: 6, arbitrary: fc.string({ maxLength: 8 }) },
    {
      weight: 2,
      arbitrary: fc.constantFrom('', 'iv', '$d', 'then', 'constructor', 'toString', 'toJSON', 'length', '0', 'type'),
    },
    { weight: 1, arbitrary: fc.string({ unit: 'grapheme', maxLength: 40 }) },
  )
  .filter((text) => text !== '__proto__')

const text: fc.Arbitrary<string> = fc.oneof(
  fc.string({ maxLength: 12 }),
  fc.string({ unit: 'grapheme', maxLength: 12 }),
  fc.string({ unit: fc.nat(0xffff).map((code) => String.fromCharCode(code)), maxLength: 6 }), // lone surrogates too
  fc.tuple(fc.constantFrom('a', 'é', '\ufeff', '𝄞', '\ud800'), fc.nat(300)).map(([char, times]) => char.repeat(times)),
)

const number: fc.Arbitrary<number> = fc.oneof(
  fc.integer(),
  fc.maxSafeInteger(),
  fc.double(),
  fc.constantFrom(
    0,
    -0,
    NaN,
    Infinity,
    -Infinity,
    2 ** 53,
    -(2 ** 53),
    2 ** 64,
    127,
    128,
    255,
    256,
    -32,
    -33,
    -128,
    -129,
  ),
  fc.constantFrom(65535, 65536, -32768, -32769, 2 ** 31, 2 ** 32 - 1, 2 ** 32, -(2 ** 31), -(2 ** 31) - 1, 5e-324),
)

const binary: fc.Arbitrary<object> = fc
  .tuple(fc.nat(VIEWS.length), fc.uint8Array({ maxLength: 3 }), fc.nat(3))
  .map(([kind, seed, skipped]) => {
    const bytes = new Uint8Array(64)
    bytes.set(seed, skipped * 8)
    const View = VIEWS[kind]
    return View === undefined ? bytes.slice(0, seed.length).buffer : new View(bytes.buffer, skipped * 8, seed.length)
  })

const leaf: fc.Arbitrary<unknown> = fc.oneof(
  { weight: 3, arbitrary: text },
  { weight: 3, arbitrary: number },
  { weight: 2, arbitrary: fc.constantFrom(null, true, false, undefined) },
  { weight: 1, arbitrary: fc.bigInt() },
  { weight: 1, arbitrary: fc.date({ noInvalidDate: false }) },
  { weight: 1, arbitrary: fc.constantFrom(/a/, /\//giu, /[\ud83d]/, new RegExp(''), /(?<x>é)/dsv) },
  { weight: 1, arbitrary: fc.webUrl().map((href) => new URL(href)) },
  { weight: 2, arbitrary: binary },
)

export const anyValue: fc.Arbitrary<unknown> = fc.letrec<{ value: unknown }>((tie) => {
  const value = tie('value')
  const members = fc.array(fc.tuple(key, value), { maxLength: 4 })
  const object = members.map((entries) => Object.fromEntries(entries))
  const error = fc
    .record({ kind: fc.nat(ERROR_CLASSES.length + 1), message: text, cause: value, more: members, name: text })
    .map(({ kind, message, cause, more, name }) => {
      const options = kind % 2 === 0 ? { cause } : undefined
      const ErrorClass = ERROR_CLASSES[kind]
      const made = ErrorClass ? new ErrorClass(message, options) : new AggregateError([cause], message, options)
      if (kind % 3 === 0) made.name = name
      for (const [property, member] of more) if (property !== 'stack') Object.assign(made, { [property]: member })
      return made
    })
  return {
    value: fc.oneof(
      { maxDepth: 4, depthSize: 'small', withCrossShrink: true },
      { weight: 6, arbitrary: leaf },
      { weight: 2, arbitrary: fc.array(value, { maxLength: 4 }) },
      { weight: 3, arbitrary: object },
      { weight: 1, arbitrary: fc.array(fc.tuple(value, value), { maxLength: 3 }).map((entries) => new Map(entries)) },
      { weight: 1, arbitrary: fc.array(value, { maxLength: 3 }).map((items) => new Set(items)) },
      { weight: 1, arbitrary: error },
    ),
  }
}).value
