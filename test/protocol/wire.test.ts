import { encode } from '@msgpack/msgpack'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { CallplaneError } from '../../src/protocol/errors.ts'
import { decodeBody, encodeBody } from '../../src/protocol/wire.ts'

const integer = fc.oneof(
  fc.integer({ min: -300, max: 300 }),
  fc.integer({ min: -70_000, max: 70_000 }),
  fc.integer(),
  fc.maxSafeInteger(),
  fc.constantFrom(2 ** 31, 2 ** 32 - 1, 2 ** 32, -(2 ** 31), -(2 ** 31) - 1, Number.MIN_SAFE_INTEGER),
)
const text = fc.oneof(
  fc.string({ maxLength: 40 }),
  fc.string({ unit: 'grapheme', maxLength: 40 }),
  fc.tuple(fc.constantFrom('a', 'é', '€', '𝄞'), fc.nat(300)).map(([char, times]) => char.repeat(times)),
)
/** What a body may hold. No -0, which the other encoder makes 0 of. */
const body = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    integer,
    fc.double({ noNaN: true }).map((number) => number || 0),
    text,
    fc.constantFrom(null, true, false),
    fc.uint8Array({ maxLength: 300 }),
    fc.array(tie('value'), { maxLength: 6 }),
    fc.dictionary(
      text.filter((key) => key !== '__proto__'),
      tie('value'),
      { maxKeys: 6, noNullPrototype: true },
    ),
  ),
})).value

test(
  '5,000 bodies are the very bytes that @msgpack/msgpack writes, and come back the same',
  { timeout: 60_000 },
  () => {
    const property = fc.property(body, (value) => {
      const bytes = encodeBody(value)
      expect(Buffer.compare(bytes, encode(value))).toBe(0)
      expect(decodeBody(bytes)).toEqual(value)
    })
    fc.assert(property, { numRuns: 5_000 })
  },
)

test.each([15, 16, 255, 256, 65_535, 65_536])(
  'containers, binary data and text of %i are read and written',
  (length) => {
    const value = {
      array: Array.from({ length }, (_, i) => i),
      map: Object.fromEntries(Array.from({ length: Math.min(length, 60_000) }, (_, i) => [`k${i}`, null])),
      binary: new Uint8Array(length).fill(7),
      text: 'x'.repeat(length),
    }
    expect(Buffer.compare(encodeBody(value), encode(value))).toBe(0)
    expect(decodeBody(encodeBody(value))).toEqual(value)
  },
)

test('integers that other encoders write long, and single floats, are read', () => {
  const int64 = Uint8Array.of(0xd3, 0xff, 0xff, 0xff, 0xfe, 0xff, 0xff, 0xff, 0xff)
  expect(decodeBody(int64)).toBe(-4_294_967_297)
  const uint64 = Uint8Array.of(0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
  expect(decodeBody(uint64)).toBe(2 ** 64)
  expect(decodeBody(Uint8Array.of(0xca, 0x3f, 0xc0, 0, 0))).toBe(1.5)
  expect(decodeBody(Uint8Array.of(0xd0, 0xff))).toBe(-1)
  expect(decodeBody(Uint8Array.of(0xd1, 0xff, 0xfe))).toBe(-2)
  expect(decodeBody(Uint8Array.of(0xd2, 0xff, 0xff, 0xff, 0xfd))).toBe(-3)
})

test('a property that is undefined is left out', () => {
  expect(decodeBody(encodeBody({ a: undefined, b: { c: undefined, d: 1 } }))).toEqual({ b: { d: 1 } })
  expect(Object.keys(decodeBody(encodeBody({ a: undefined })) as object)).toEqual([])
})

test('-0 stays -0', () => {
  expect(decodeBody(encodeBody([-0]))).toEqual([-0])
})

test('binary data of a body in a Buffer comes as a Uint8Array', () => {
  const { data } = decodeBody(Buffer.from(encodeBody({ data: new Uint8Array([1, 2]) }))) as { data: Uint8Array }
  expect(Object.getPrototypeOf(data)).toBe(Uint8Array.prototype)
  expect([...data]).toEqual([1, 2])
})

test('a body that a getter encodes meanwhile does not get into the other', () => {
  const value = {
    first: 'a',
    middle: [
      {
        get inner() {
          return encodeBody('inner')
        },
      },
    ],
    last: 'z',
  }
  expect(decodeBody(encodeBody(value))).toEqual({
    first: 'a',
    middle: [{ inner: encodeBody('inner') }],
    last: 'z',
  })
})

test('what a body cannot hold is a fault of the program', () => {
  expect(() => encodeBody({ a: () => 1 })).toThrow(TypeError)
  expect(() => encodeBody([1n])).toThrow('A body cannot hold a bigint.')
  expect(encodeBody([1])).toEqual(encode([1]))
})

test.each<[string, number[]]>([
  ['an extension', [0xd4, 1, 0]],
  ['bytes after it', [0xc0, 0xc0]],
  ['text that is not UTF-8', [0xa1, 0xff]],
  ['a claim that it does not hold', [0xdd, 0xff, 0xff, 0xff, 0xff]],
])('a body with %s is refused', (_, bytes) => {
  expect(() => decodeBody(Uint8Array.from(bytes))).toThrow(
    expect.toSatisfy((thrown: unknown) => thrown instanceof CallplaneError && thrown.code === 'invalid_msgpack'),
  )
})
