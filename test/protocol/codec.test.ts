import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodePayload, encodePayload } from '../../src/protocol/codec.ts'
import { CallplaneError, NonRetryableError } from '../../src/protocol/errors.ts'
import { MAX_DEPTH, MAX_NODES, MAX_PAYLOAD_BYTES } from '../../src/protocol/limits.ts'
import { anyValue } from './any-value.ts'
import { isSame } from './same-value.ts'

/** Each check draws others. */
const VALUES = process.env['CALLPLANE_LONG'] === '1' ? 100_000 : 20_000

function roundTrip(value: unknown): unknown {
  return decodePayload(encodePayload(value, 'args'))
}

/** What `run` throws, as a CallplaneError; anything else fails the test. */
function thrownBy(run: () => unknown): CallplaneError {
  try {
    run()
  } catch (thrown) {
    if (thrown instanceof CallplaneError) return thrown
    throw thrown
  }
  throw new Error('nothing was thrown')
}

function isUtf8(bytes: Uint8Array): boolean {
  return Buffer.from(new TextDecoder().decode(bytes)).equals(bytes)
}

function nested(levels: number): unknown {
  let value: unknown = 'core'
  for (let i = 0; i < levels; i++) value = [value]
  return value
}

describe('what arrives as it was sent', () => {
  test(`${VALUES} nested values of every kind`, { timeout: 120_000 }, () => {
    const property = fc.property(anyValue, (value) => isSame(roundTrip([value]), [value]))
    fc.assert(property, { numRuns: VALUES })
  })

  test.each([
    ['undefined', undefined],
    ['undefined as a property and as an item', { a: undefined, b: [undefined, null] }],
    ['-0, NaN and the infinities', [-0, 0, NaN, Infinity, -Infinity]],
    ['integers beyond 2^53 as the same double', [2 ** 53, 2 ** 53 + 2, -(2 ** 60), 2 ** 64, 1e300]],
    ['bigints of any size', [0n, -1n, 2n ** 64n, -(2n ** 64n), 3n ** 5000n]],
    ['an invalid date', new Date(NaN)],
    ['dates at both ends of their range', [new Date(8.64e15), new Date(-8.64e15)]],
    ['lone surrogates', ['\ud800', 'a\udc00b', '\ud83d'.repeat(100)]],
    ['a long text with a byte order mark', `\ufeff${'text '.repeat(100)}`],
    ['an astral text across every header size', ['𝄞', '𝄞'.repeat(8), '𝄞'.repeat(64), '𝄞'.repeat(17_000)]],
    ['keys that codecs trip over', { iv: 1, $d: 2, then: 3, constructor: 4, toJSON: 5, '': 6, toString: 7, '0': 8 }],
    [
      'a Map and a Set with objects for keys',
      [new Map([[{ a: 1 }, new Map([[NaN, null]])]]), new Set([[1], new Set()])],
    ],
    ['a RegExp', /a\/b[\ud83d]/dgimsu],
    ['a URL', new URL('https://user:pass@example.com:8080/ü?q=1#x')],
    ['empty things', [{}, [], '', new Map(), new Set(), new Uint8Array(), new ArrayBuffer(0), /(?:)/]],
    ['the longest list that fits one length of header', [Array(15).fill(0), Array(16).fill(0), Array(65_536).fill(0)]],
  ])('%s', (_, value) => {
    expect(isSame(roundTrip(value), value)).toBe(true)
  })

  test('a typed array, with its own aligned buffer and no bytes of its neighbours', () => {
    const sent = new Float64Array(new ArrayBuffer(64), 8, 3).fill(1.5)
    const bytes = encodePayload({ x: 1, sent }, 'args')
    const { sent: got } = decodePayload(bytes) as { sent: Float64Array }
    bytes.fill(0)
    expect(isSame(got, sent)).toBe(true)
    expect(got.buffer.byteLength).toBe(24)
  })

  test('a Buffer, as a Uint8Array; and payloads may come in a Buffer', () => {
    const bytes = Buffer.from(encodePayload([Buffer.from('abc'), new Uint16Array([1, 2])], 'args'))
    const got = decodePayload(bytes)
    bytes.fill(0)
    expect(isSame(got, [new Uint8Array([97, 98, 99]), new Uint16Array([1, 2])])).toBe(true)
  })

  test('binary data of plain msgpack, as a Uint8Array that shares nothing with the payload', () => {
    const payload = Uint8Array.of(0x01, 0xc4, 2, 7, 8)
    const got = decodePayload(payload)
    payload.fill(0)
    expect(isSame(got, Uint8Array.of(7, 8))).toBe(true)
  })

  test('objects of another realm, as those of this one', () => {
    const foreign: unknown = runInNewContext(
      '({ a: [new Map([[1, new Set([2])]]), new Date(5), /x/g, new Uint8Array([1]), new ArrayBuffer(2)] })',
    )
    const own = { a: [new Map([[1, new Set([2])]]), new Date(5), /x/g, new Uint8Array([1]), new ArrayBuffer(2)] }
    expect(isSame(roundTrip(foreign), own)).toBe(true)
    const error: unknown = runInNewContext('new TypeError("far")')
    expect(roundTrip(error)).toMatchObject({ name: 'TypeError', message: 'far' })
    expect(roundTrip(error)).toBeInstanceOf(Error)
  })

  test('an object without a prototype, as a plain one', () => {
    const sent: Record<string, unknown> = Object.assign(Object.create(null), { a: 1 })
    expect(isSame(roundTrip(sent), { a: 1 })).toBe(true)
  })

  test('one object in two places, as two', () => {
    const shared = { a: 1 }
    const [first, second] = roundTrip([shared, shared]) as [object, object]
    expect(first).toEqual(second)
    expect(first).not.toBe(second)
  })

  test('an object with toJSON, which nothing calls', () => {
    const date = new Date(5)
    date.toISOString = date.toISOString.bind(date)
    expect(thrownBy(() => roundTrip([date])).message).toBe(
      'args[0]: its property "toISOString" cannot be sent, only its content',
    )
    class Plain {}
    expect(isSame(roundTrip({ toJSON: 'text' }), { toJSON: 'text' })).toBe(true)
    expect(thrownBy(() => roundTrip([Object.assign(new Plain(), { toJSON: () => 'text' })])).code).toBe(
      'not_serializable',
    )
  })

  test('the same value where a getter encodes a payload of its own meanwhile', () => {
    const value = {
      before: 'x',
      get inner() {
        return decodePayload(encodePayload(['inner'], 'args'))
      },
      after: 'y',
    }
    expect(roundTrip([value])).toEqual([{ before: 'x', inner: ['inner'], after: 'y' }])
  })

  test('what a getter gave the one time that it is asked', () => {
    let asked = 0
    const value = {
      get once() {
        asked++
        return asked === 1 ? 'fine' : () => 'a function'
      },
    }
    expect(roundTrip([value])).toEqual([{ once: 'fine' }])
  })
})

describe('errors', () => {
  test.each([Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError])(
    'a %o keeps class, message, stack, cause, code and properties',
    (ErrorClass) => {
      const sent = Object.assign(new ErrorClass('broken', { cause: new TypeError('why') }), { code: 'E1', extra: [1n] })
      const got = roundTrip(sent) as Error
      expect(isSame(got, sent)).toBe(true)
      expect(got).toBeInstanceOf(ErrorClass)
      expect(Object.keys(got)).toEqual(['code', 'extra'])
      expect(Object.prototype.toString.call(got)).toBe('[object Error]')
    },
  )

  test('an AggregateError keeps its errors', () => {
    const sent = new AggregateError([new RangeError('one'), 'two'], 'both')
    const got = roundTrip(sent) as AggregateError
    expect(isSame(got, sent)).toBe(true)
    expect(got.errors[0]).toBeInstanceOf(RangeError)
  })

  test('a CallplaneError keeps its class and code', () => {
    const sent = new CallplaneError('lease_lost', 'gone', { cause: 1 })
    const got = roundTrip(sent)
    expect(got).toBeInstanceOf(CallplaneError)
    expect(isSame(got, sent)).toBe(true)
  })

  test('a CallplaneError with the code of a newer plane becomes internal and keeps both', () => {
    const sent = Object.assign(new CallplaneError('closed', 'text'), { code: 'from_the_future' })
    expect(roundTrip(sent)).toMatchObject({ code: 'internal', message: 'from_the_future: text' })
  })

  test('a NonRetryableError keeps its class, and a subclass its name', () => {
    class CardRefused extends NonRetryableError {
      override readonly name = 'CardRefused'
    }
    expect(isSame(roundTrip(new NonRetryableError('no')), new NonRetryableError('no'))).toBe(false) // stacks differ
    expect(roundTrip(new NonRetryableError('no'))).toBeInstanceOf(NonRetryableError)
    expect(roundTrip(new CardRefused('no'))).toBeInstanceOf(NonRetryableError)
    expect(roundTrip(new CardRefused('no'))).toMatchObject({ name: 'CardRefused', message: 'no' })
  })

  test('an error of a class of its own arrives as the native class that it extends, with its name', () => {
    class HttpError extends TypeError {
      override name = 'HttpError'
      status = 404
    }
    const got = roundTrip(new HttpError('not there'))
    expect(Object.getPrototypeOf(got)).toBe(TypeError.prototype)
    expect(got).toMatchObject({ name: 'HttpError', message: 'not there', status: 404 })
  })

  test('a DOMException arrives as an Error with its name and code', () => {
    const got = roundTrip(new DOMException('stopped', 'AbortError'))
    expect(Object.getPrototypeOf(got)).toBe(Error.prototype)
    expect(got).toMatchObject({ name: 'AbortError', message: 'stopped', code: 20 })
    expect(Object.keys(got as object)).toEqual([])
  })

  test('an error whose cause is undefined still has a cause', () => {
    const got = roundTrip(new Error('x', { cause: undefined }))
    expect(Object.hasOwn(got as object, 'cause')).toBe(true)
  })

  test('an error without a stack does not get the one of the decoder', () => {
    const sent = new Error('bare')
    delete sent.stack
    expect((roundTrip(sent) as Error).stack).toBe('Error: bare')
  })
})

class Point {
  x = 1
}

const cyclic: Record<string, unknown> = { list: [] }
;(cyclic['list'] as unknown[]).push({ back: cyclic })
const selfSet = new Set<unknown>()
selfSet.add([selfSet])
const sparse = [1, 2, 3]
delete sparse[1]
const throwing = {
  get fine() {
    return 1
  },
  get broken() {
    throw new TypeError('no luck')
  },
}
const revoked = Proxy.revocable({}, {})
revoked.revoke()

describe('what cannot be sent is refused with its path', () => {
  const noFunctions = 'functions cannot be sent'
  const send = 'send a plain object'
  test.each<[string, unknown, string]>([
    ['a function', [0, { items: [1, 2, 3, { fn: () => 1 }] }], `args[1].items[3].fn: ${noFunctions}`],
    ['a class', [Point], `args[0]: ${noFunctions}`],
    ['a key that is no identifier', [{ 'odd key': { '': noFunctions.at } }], `args[0]["odd key"][""]: ${noFunctions}`],
    ['a value in a Map', [new Map([['user', { f: Math.max }]])], `args[0].get("user").f: ${noFunctions}`],
    ['a value under a number in a Map', [new Map([[7, Math.max]])], `args[0].get(7): ${noFunctions}`],
    ['a value under an object in a Map', [new Map([[{}, Math.max]])], `args[0].values()[0]: ${noFunctions}`],
    [
      'a key of a Map',
      [
        new Map<unknown, number>([
          [1, 1],
          [{ f: Math.max }, 2],
        ]),
      ],
      `args[0].keys()[1].f: ${noFunctions}`,
    ],
    ['a member of a Set', [new Set<unknown>([1, Math.max])], `args[0].values()[1]: ${noFunctions}`],
    ['the cause of an error', [new Error('x', { cause: { f: Math.max } })], `args[0].cause.f: ${noFunctions}`],
    ['an error in an AggregateError', [new AggregateError([Math.max])], `args[0].errors[0]: ${noFunctions}`],
    ['a property of an error', [Object.assign(new Error('x'), { f: Math.max })], `args[0].f: ${noFunctions}`],
    ['a symbol', [{ s: Symbol('x') }], 'args[0].s: symbols cannot be sent'],
    ['a symbol as a key', [{ [Symbol('x')]: 1 }], 'args[0][Symbol(x)]: properties with a symbol cannot be sent'],
    [
      'a symbol as a key of an error',
      [Object.assign(new Error('x'), { [Symbol('x')]: 1 })],
      'args[0]["Symbol(x)"]: symbols cannot be sent',
    ],
    ['an instance of a class', [new Point()], `args[0]: instances of the class Point cannot be sent; ${send}`],
    [
      'an instance of a class without a name',
      [new (class {})()],
      `args[0]: objects that inherit cannot be sent; ${send}`,
    ],
    [
      'an object that inherits from one that looks like the root of all',
      [Object.create({ isPrototypeOf: 1 })],
      `args[0]: objects that inherit cannot be sent; ${send}`,
    ],
    ['an object that inherits', [Object.create({ a: 1 })], `args[0]: objects that inherit cannot be sent; ${send}`],
    [
      'a subclass of Map',
      [new (class Index extends Map {})()],
      `args[0]: instances of the class Index cannot be sent; ${send}`,
    ],
    [
      'a subclass of Array',
      [new (class Rows extends Array {})()],
      `args[0]: instances of the class Rows cannot be sent; ${send}`,
    ],
    [
      'a class that only calls itself Date',
      [new (class Date {})()],
      `args[0]: instances of the class Date cannot be sent; ${send}`,
    ],
    ['a WeakMap', [new WeakMap()], `args[0]: instances of the class WeakMap cannot be sent; ${send}`],
    ['a Promise', [Promise.resolve(1)], 'args[0]: instances of the class Promise cannot be sent; await it first'],
    ['a boxed number', [Object(1)], 'args[0]: instances of the class Number cannot be sent; send the primitive value'],
    [
      'a boxed string',
      [Object('x')],
      'args[0]: instances of the class String cannot be sent; send the primitive value',
    ],
    ['a boxed bigint', [Object(1n)], `args[0]: instances of the class BigInt cannot be sent; ${send}`],
    ['a Request', [new Request('http://x/')], 'args[0]: instances of the class Request cannot be sent; send its bytes'],
    ['a Response', [new Response()], 'args[0]: instances of the class Response cannot be sent; send its bytes'],
    ['a Blob', [new Blob()], 'args[0]: instances of the class Blob cannot be sent; send its bytes'],
    [
      'a stream',
      [new ReadableStream()],
      'args[0]: instances of the class ReadableStream cannot be sent; send its bytes',
    ],
    [
      'shared memory',
      [new SharedArrayBuffer(1)],
      'args[0]: instances of the class SharedArrayBuffer cannot be sent; send a copy of its bytes',
    ],
    ['a generator', [(function* () {})()], `args[0]: instances of the class Generator cannot be sent; ${send}`],
    ['a cycle', [cyclic], 'args[0].list[0].back: cycles cannot be sent'],
    ['a cycle through a Set', [selfSet], 'args[0].values()[0][0]: cycles cannot be sent'],
    ['a hole in an array', [sparse], 'args[0][1]: holes in an array cannot be sent'],
    ['a hole at the end', [Array(2)], 'args[0][0]: holes in an array cannot be sent'],
    [
      'a hole that a property makes up for',
      [Object.assign([, 1], { x: 1 })],
      'args[0][0]: holes in an array cannot be sent',
    ],
    [
      'a property beside the items',
      ['abc'.match(/b/)],
      'args[0].index: properties of an array cannot be sent, only its items',
    ],
    [
      'a property of a Map',
      [Object.assign(new Map(), { size2: 1 })],
      'args[0]: its property "size2" cannot be sent, only its content',
    ],
    [
      'the key __proto__',
      [JSON.parse('{"a": {"__proto__": 1}}')],
      'args[0].a.__proto__: the key __proto__ cannot be sent',
    ],
    [
      'the key __proto__ on an error',
      [Object.defineProperty(new Error('x'), '__proto__', { value: 1, enumerable: true })],
      'args[0].__proto__: the key __proto__ cannot be sent',
    ],
    [
      'a key with a lone surrogate',
      [{ '\ud800': 1 }],
      'args[0]["\\ud800"]: a key with a lone surrogate cannot be sent',
    ],
    ['a getter that throws', [throwing], 'args[0].broken: reading it threw TypeError: no luck'],
    ['a revoked proxy', [revoked.proxy], expect.stringMatching(/^args\[0\]: reading it threw TypeError: .*revoked/)],
    [
      'a getter that throws a revoked proxy',
      [
        {
          get a() {
            throw revoked.proxy
          },
        },
      ],
      'args[0].a: reading it threw',
    ],
    ['65 levels', nested(65), `args${'[0]'.repeat(64)}: values cannot nest deeper than 64`],
  ])('%s', (_, value, message) => {
    const error = thrownBy(() => encodePayload(value, 'args'))
    expect(error.code).toBe('not_serializable')
    expect(error.message).toEqual(message)
  })

  test('the path begins with the root, also where the value itself is refused', () => {
    expect(thrownBy(() => encodePayload(() => 1, 'result')).message).toBe('result: functions cannot be sent')
  })

  test('an error of a getter is kept as the cause', () => {
    expect(thrownBy(() => encodePayload([throwing], 'args')).cause).toBeInstanceOf(TypeError)
  })

  test('the next value is encoded as if nothing had happened', () => {
    expect(() => encodePayload([{ deep: [new Map([[1, Math.max]])] }], 'args')).toThrow(CallplaneError)
    expect(roundTrip([1])).toEqual([1])
  })

  test('a key of megabytes is cut in the message', () => {
    const error = thrownBy(() => encodePayload([{ ['k'.repeat(2_000_000)]: Math.max }], 'args'))
    expect(error.message.length).toBeLessThan(200)
  })
})

describe('limits', () => {
  test(`${MAX_DEPTH} levels are sent and arrive`, () => {
    expect(roundTrip(nested(MAX_DEPTH))).toEqual(nested(MAX_DEPTH))
    const tagged = [new Map([[1, nested(MAX_DEPTH - 2)]])]
    expect(isSame(roundTrip(tagged), tagged)).toBe(true)
  })

  test('a RegExp counts as a level, as it does for the one who decodes', () => {
    let value: unknown = /x/
    for (let i = 0; i < MAX_DEPTH - 1; i++) value = [value]
    expect(isSame(roundTrip(value), value)).toBe(true)
    expect(thrownBy(() => encodePayload([value], 'args')).code).toBe('not_serializable')
  })

  test(`${MAX_NODES} values are sent and arrive, one more is refused`, () => {
    const fits = Array.from({ length: MAX_NODES - 1 }, () => 1)
    expect(roundTrip(fits)).toEqual(fits)
    expect(thrownBy(() => encodePayload([...fits, 1], 'args')).code).toBe('payload_too_large')
    const map = new Map(Array.from({ length: MAX_NODES / 2 - 1 }, (_, i) => [i, 0]))
    expect((roundTrip(map) as Map<number, number>).size).toBe(MAX_NODES / 2 - 1)
    expect(thrownBy(() => encodePayload(map.set(-1, 0), 'args')).code).toBe('payload_too_large')
  })

  test('a payload of the greatest size is sent, and of a byte more refused with both sizes', () => {
    const overhead = encodePayload('x'.repeat(100_000), 'args').length - 100_000
    const fits = 'x'.repeat(MAX_PAYLOAD_BYTES - overhead)
    expect(encodePayload(fits, 'args').length).toBe(MAX_PAYLOAD_BYTES)
    const error = thrownBy(() => encodePayload(`${fits}x`, 'args'))
    expect(error.code).toBe('payload_too_large')
    expect(error.message).toBe(
      `args: ${MAX_PAYLOAD_BYTES + 1} bytes when encoded, the limit is ${MAX_PAYLOAD_BYTES}; send a reference to the data`,
    )
  })

  test.each([
    ['one long text', 'é'.repeat(5_000_000), 10_000_000],
    ['one long bigint', 1n << 8_000_000n, 2_000_001],
    ['one long buffer', new Uint8Array(30_000_000), 30_000_000],
    ['many short texts', Array.from({ length: 100_000 }, () => 'x'.repeat(100)), 10_200_000],
    ['one long key', { ['k'.repeat(3_000_000)]: 1 }, 3_000_000],
    ['lone surrogates', '\ud800'.repeat(2_000_000), 4_000_000],
  ])('the whole size of what is too large is told: %s', (_, value, size) => {
    const error = thrownBy(() => encodePayload(value, 'args'))
    expect(error.code).toBe('payload_too_large')
    const told = Number(/(\d+) bytes/.exec(error.message)?.[1])
    expect(told).toBeGreaterThanOrEqual(size)
    expect(told).toBeLessThan(size + 100)
  })
})

describe('decoding', () => {
  test('an encrypted payload asks for its keys', () => {
    expect(thrownBy(() => decodePayload(Uint8Array.of(0x02, 1, 2, 3))).code).toBe('encrypted')
  })

  test.each<[string, number[]]>([
    ['nothing at all', []],
    ['an unknown format', [0x03, 0xc0]],
    ['a format without a value', [0x01]],
    ['two values', [0x01, 0xc0, 0xc0]],
    ['a date out of range', [0x01, 0xd7, 3, 0x7f, 0xe0, 0, 0, 0, 0, 0, 0]],
    ['a date of three bytes', [0x01, 0xc7, 3, 3, 1, 2, 3]],
    ['a bigint without digits', [0x01, 0xc7, 0, 2]],
    ['a bigint that is none', [0x01, 0xd4, 2, 0x7a]],
    ['a URL that is none', [0x01, 0xd4, 4, 0x7a]],
    ['half a code unit', [0x01, 0xd4, 5, 0x7a]],
    ['an unknown kind of binary data', [0x01, 0xd4, 6, 99]],
    ['binary data without a kind', [0x01, 0xc7, 0, 6]],
    ['a Float64Array of three bytes', [0x01, 0xd6, 6, 11, 1, 2, 3]],
    ['a tag on its own', [0x01, 0xd4, 7, 0]],
    ['a tag that is not the first item', [0x01, 0x92, 0xc0, 0xd4, 7, 0]],
    ['a tag after an empty array', [0x01, 0x92, 0x90, 0xd4, 7, 0]],
    ['an unknown tag', [0x01, 0x91, 0xd4, 7, 9]],
    ['a Map with a key and no value', [0x01, 0x92, 0xd4, 7, 0, 1]],
    ['a RegExp of a number', [0x01, 0x93, 0xd4, 7, 2, 1, 0xa0]],
    ['a RegExp that does not compile', [0x01, 0x93, 0xd4, 7, 2, 0xa1, 0x28, 0xa0]],
    ['an error with a number for a property', [0x01, 0x95, 0xd4, 7, 3, 0xa0, 0, 1, 1]],
    ['an error with the property __proto__', [0x01, 0x95, 0xd4, 7, 3, 0xa0, 0, 0xa9, ...Buffer.from('__proto__'), 1]],
    ['text that is not UTF-8', [0x01, 0xa2, 0xc3, 0x28]],
    ['a key that spells __proto__ in overlong UTF-8', [0x01, 0x81, 0xaa, 0xc1, 0x9f, ...Buffer.from('_proto__'), 1]],
    ['a timestamp of msgpack', [0x01, 0xd6, 0xff, 0, 0, 0, 0]],
  ])('%s is refused', (_, bytes) => {
    expect(thrownBy(() => decodePayload(Uint8Array.from(bytes))).code).toBe('invalid_msgpack')
  })

  test('short texts are told from each other, and from bytes that only resemble them', () => {
    const wrong: string[] = []
    for (let code = 0; code < 0x100 * 0x100; code++) {
      const latin1 = [code >> 8, code & 0xff]
      const pair = String.fromCharCode(...latin1)
      if (!isSame(roundTrip([pair.slice(0, 1), pair]), [pair.slice(0, 1), pair])) wrong.push(pair)
      const raw = Uint8Array.of(0x01, 0xa2, ...latin1)
      if (!isUtf8(raw.subarray(2)) && thrownBy(() => decodePayload(raw)).code !== 'invalid_msgpack') wrong.push(pair)
    }
    expect(wrong).toEqual([])
  })

  test('no map reaches a prototype', () => {
    const got = decodePayload(encodePayload({ constructor: { prototype: { polluted: 1 } } }, 'args'))
    expect(got).toEqual({ constructor: { prototype: { polluted: 1 } } })
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
  })
})
