import { decode, encode } from '@msgpack/msgpack'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodePayload, encodePayload } from '../../src/protocol/codec.ts'
import { CallplaneError } from '../../src/protocol/errors.ts'
import { MAX_DEPTH, MAX_NODES } from '../../src/protocol/limits.ts'
import { scanMsgpack } from '../../src/protocol/scan.ts'
import { anyValue } from './any-value.ts'

function bytes(...parts: (number | number[] | string)[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => (typeof part === 'string' ? [...Buffer.from(part)] : part)))
}

function times(count: number, ...unit: number[]): Uint8Array {
  return Uint8Array.from({ length: count * unit.length }, (_, i) => unit[i % unit.length] ?? 0)
}

const ARRAY32_OF_30_M = [0xdd, 0x01, 0xc9, 0xc3, 0x80]
const MOST = [0xff, 0xff, 0xff, 0xff]

const BOMBS: [string, Uint8Array][] = [
  ['an array that claims 30 million items', bytes(ARRAY32_OF_30_M)],
  ['eight such headers in each other', times(8, ...ARRAY32_OF_30_M)],
  ['2,000 arrays in each other that claim 65,535 items each', times(2_000, 0xdc, 0xff, 0xff)],
  ['24,000 of them', times(24_000, 0xdc, 0xff, 0xff)],
  ['2 million arrays in each other', times(2_000_000, 0x91)],
  ['a map that claims 4 billion entries', bytes(0xdf, MOST)],
  ['a string that claims 4 GB', bytes(0xdb, MOST)],
  ['binary data that claims 4 GB', bytes(0xc6, MOST)],
  ['an extension that claims 4 GB', bytes(0xc9, MOST, 1)],
  ['a map with the key __proto__', bytes(0x81, 0xa9, '__proto__', 0x80)],
  ['the record definition of another library', bytes(0xd4, 0x72, 0x40, 0x91, 0xa1, 'a', 0x40, 1)],
  ['a timestamp, as it can be out of range', bytes(0xc7, 12, 0xff, MOST, MOST, MOST)],
]

function refusalOf(document: Uint8Array, extTypes?: ReadonlySet<number>): string {
  try {
    scanMsgpack(document, extTypes)
  } catch (thrown) {
    if (thrown instanceof CallplaneError && thrown.code === 'invalid_msgpack') return thrown.message
    throw thrown
  }
  return 'accepted'
}

describe('bombs', () => {
  test.each(BOMBS)('%s is refused', (_, bomb) => {
    expect(refusalOf(bomb)).not.toBe('accepted')
  })

  test('all of them, 1,000 times over, take no memory worth the name', () => {
    const small = BOMBS.filter(([, bomb]) => bomb.length < 100_000)
    for (const [, bomb] of small) refusalOf(bomb)
    const before = process.memoryUsage().arrayBuffers + process.memoryUsage().external
    for (let i = 0; i < 1_000; i++) for (const [, bomb] of small) refusalOf(bomb)
    expect(process.memoryUsage().arrayBuffers + process.memoryUsage().external - before).toBeLessThan(5_000_000)
  })

  test('an extension cannot hide another document, since none is allowed that holds one', () => {
    let value: unknown = new Map()
    for (let i = 0; i < MAX_DEPTH - 1; i++) value = new Map([[1, value]])
    const deepest = encodePayload(value, 'args')
    expect(decodePayload(deepest)).toBeInstanceOf(Map)
    const header = deepest.subarray(1, 1 + 5) // [tag Map, 1, …
    const deeper = Uint8Array.from([0x01, ...header, ...deepest.subarray(1)])
    expect(() => decodePayload(deeper)).toThrow(/nest deeper/)
  })
})

describe('what is refused, and where', () => {
  test.each<[string, Uint8Array, string]>([
    ['no bytes', bytes(), 'the bytes end where a value is due (at byte 0)'],
    ['an item that is missing', bytes(0x92, 0x91, 1), 'the bytes end where a value is due (at byte 3)'],
    ['bytes after the document', bytes(0x90, 0xc0, 0xc0), '2 bytes follow the document (at byte 1)'],
    ['0xc1', bytes(0x91, 0xc1), '0xc1 stands for nothing (at byte 1)'],
    ['a string cut short', bytes(0x91, 0xa3, 'ab'), 'a value claims 3 bytes, 2 are left (at byte 1)'],
    ['a header cut short', bytes(0x91, 0xda, 1), 'a value claims 256 bytes, 0 are left (at byte 1)'],
    ['a number cut short', bytes(0xcb, 1, 2, 3), 'a value claims 8 bytes, 3 are left (at byte 0)'],
    ['an array header cut short', bytes(0xdc, 0), 'a container claims 0 values, 0 bytes are left (at byte 0)'],
    [
      'a map with half the bytes',
      bytes(0x82, 0xa0, 1, 0xa0),
      'a container claims 4 values, 3 bytes are left (at byte 0)',
    ],
    ['a map key that is a number', bytes(0x81, 1, 1), 'a map key is not a string (at byte 1)'],
    ['a map key after a container', bytes(0x82, 0xa1, 'a', 0x91, 1, 1, 1), 'a map key is not a string (at byte 5)'],
    ['a map key that is binary', bytes(0x81, 0xc4, 1, 0x61, 1), 'a map key is not a string (at byte 1)'],
    ['a map key that is missing', bytes(0x81, 0xa1), 'a container claims 2 values, 1 bytes are left (at byte 0)'],
    ['__proto__ in a long header', bytes(0x81, 0xd9, 9, '__proto__', 1), 'a map has the key __proto__ (at byte 3)'],
    [
      '__proto__ as a second key',
      bytes(0x82, 0xa1, 'a', 1, 0xa9, '__proto__', 1),
      'a map has the key __proto__ (at byte 5)',
    ],
    ['an extension', bytes(0xd4, 7, 0), 'the extension type 0x7 is not known (at byte 1)'],
  ])('%s', (_, document, message) => {
    expect(refusalOf(document)).toBe(`The bytes are not msgpack that is accepted here: ${message}.`)
  })

  test.each([
    [0xd4, 1],
    [0xd5, 2],
    [0xd6, 4],
    [0xd7, 8],
    [0xd8, 16],
    [0xc7, 5, 5],
    [0xc8, 5, 0, 5],
    [0xc9, 5, 0, 0, 0, 5],
  ])('an extension of the opcode %i has all its bytes and not one more', (op, size, ...length) => {
    const whole = [op, ...length, 7, ...Array(size).fill(0)]
    expect(refusalOf(bytes(whole), new Set([7]))).toBe('accepted')
    expect(refusalOf(bytes(whole.slice(0, -1)), new Set([7]))).toMatch(/a value claims/)
    expect(refusalOf(bytes(whole, 0), new Set([7]))).toMatch(/1 bytes follow/)
  })

  test('an extension that is allowed, and no other', () => {
    const types = new Set([7])
    expect(refusalOf(bytes(0xd4, 7, 0), types)).toBe('accepted')
    expect(refusalOf(bytes(0xd4, 8, 0), types)).not.toBe('accepted')
    expect(refusalOf(bytes(0xc7, 3, 7, 1, 2, 3), types)).toBe('accepted')
    expect(refusalOf(bytes(0xc7, 3, 7, 1, 2), types)).not.toBe('accepted')
  })

  test('__proto__ is text like any other where it is no key', () => {
    expect(refusalOf(bytes(0x92, 0xa9, '__proto__', 0x81, 0xa1, 'a', 0xa9, '__proto__'))).toBe('accepted')
    expect(refusalOf(bytes(0x81, 0xa9, '__proto_x', 1))).toBe('accepted')
  })

  test(`${MAX_DEPTH} containers in each other are accepted, one more is not, even when empty`, () => {
    expect(refusalOf(bytes(...times(MAX_DEPTH - 1, 0x91), 0x90))).toBe('accepted')
    expect(refusalOf(bytes(...times(MAX_DEPTH, 0x91), 0x90))).toMatch(/nest deeper/)
    expect(refusalOf(bytes(...times(MAX_DEPTH, 0x91), 0x80))).toMatch(/nest deeper/)
  })

  test(`${MAX_NODES} values are accepted, one more is not, wherever they are`, () => {
    const half = times(MAX_NODES / 2 - 1, 0xc0)
    const length = [(half.length >> 16) & 0xff, (half.length >> 8) & 0xff, half.length & 0xff]
    const fits = Uint8Array.from([0x92, 0xdd, 0, ...length, ...half, 0xdd, 0, ...length, ...half])
    expect(refusalOf(fits)).toMatch(/more than 200000 values/) // the outer array and its two items count too
    expect(refusalOf(Uint8Array.from([0xdd, 0, ...length, ...half]))).toBe('accepted')
    expect(refusalOf(encode(Array(MAX_NODES - 1).fill(0)))).toBe('accepted')
    expect(refusalOf(encode(Array(MAX_NODES).fill(0)))).toMatch(/more than 200000 values/)
  })
})

describe('random bytes', () => {
  const document = fc.oneof(fc.uint8Array({ maxLength: 64 }), mutatedPayloads())

  test('nothing but invalid_msgpack and encrypted comes out of 100,000 hostile payloads', { timeout: 120_000 }, () => {
    let accepted = 0
    const property = fc.property(document, (hostile) => {
      try {
        decodePayload(hostile)
        accepted++
      } catch (thrown) {
        const isExpected = thrown instanceof CallplaneError && ['invalid_msgpack', 'encrypted'].includes(thrown.code)
        if (!isExpected) throw thrown
      }
    })
    fc.assert(property, { numRuns: 100_000 })
    expect(accepted).toBeGreaterThan(1_000) // or the mutations would be too crude to reach the decoder
    expect(Object.keys(Object.prototype)).toEqual([])
  })

  test('what the scan accepts without extensions, another decoder can decode', () => {
    const property = fc.property(fc.uint8Array({ maxLength: 24 }), (random) => {
      if (refusalOf(random) === 'accepted') decode(random)
    })
    fc.assert(property, { numRuns: 50_000 })
  })
})

/** Payloads of generated values with some bytes changed, cut out or copied. A few thousand will do as a stock. */
function mutatedPayloads(): fc.Arbitrary<Uint8Array> {
  const stock = fc.sample(anyValue, 3_000).map((value) => [...encodePayload([value], 'args')].slice(0, 400))
  const edit = fc.record({ at: fc.nat(), byte: fc.nat(255), kind: fc.nat(3), size: fc.nat(8) })
  return fc.tuple(fc.nat(stock.length - 1), fc.array(edit, { maxLength: 3 })).map(([index, edits]) => {
    const payload = [...(stock[index] ?? [])]
    for (const { at, byte, kind, size } of edits) {
      const place = 1 + (at % payload.length)
      if (kind === 0) payload.splice(place, size)
      else if (kind === 1) payload.splice(place, 0, ...payload.slice(place, place + size))
      else payload[place] = byte
    }
    return Uint8Array.from(payload)
  })
}
