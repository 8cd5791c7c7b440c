import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodePayload, encodePayload } from '../../src/protocol/codec.ts'
import { CallplaneError } from '../../src/protocol/errors.ts'
import { toJson } from '../../src/protocol/json-value.ts'
import { anyValue } from './any-value.ts'

test.each<[string, unknown, unknown]>([
  ['JSON itself', { a: [1, 'x', null, true], '': {} }, { a: [1, 'x', null, true], '': {} }],
  ['undefined', undefined, null],
  ['undefined in an array', [undefined, 1], [null, 1]],
  ['undefined as a property', { a: undefined, b: 1 }, { b: 1 }],
  ['NaN and the infinities', [NaN, Infinity, -Infinity], [null, null, null]],
  ['a bigint', [2n ** 70n, -1n], ['1180591620717411303424', '-1']],
  ['a Date', new Date(0), '1970-01-01T00:00:00.000Z'],
  ['an invalid Date', new Date(NaN), null],
  [
    'a Map with text for keys',
    new Map<string, unknown>([
      ['a', 1n],
      ['b', undefined],
    ]),
    { a: '1' },
  ],
  [
    'a Map with other keys',
    new Map<unknown, unknown>([
      ['a', 1],
      [2, undefined],
    ]),
    [
      ['a', 1],
      [2, null],
    ],
  ],
  ['a Map with the key __proto__', new Map([['__proto__', 1]]), [['__proto__', 1]]],
  ['a Set', new Set([1n, [undefined]]), ['1', [null]]],
  ['a RegExp', /a\/b/gi, '/a\\/b/gi'],
  ['a URL', new URL('https://x.test/ü'), 'https://x.test/%C3%BC'],
  ['bytes', new Uint8Array([0, 255, 16]), 'AP8Q'],
  ['bytes in the middle of a buffer', new DataView(new Uint8Array([1, 2, 3, 4]).buffer, 1, 2), 'AgM='],
  ['an ArrayBuffer', new Uint8Array([97]).buffer, 'YQ=='],
  ['numbers in a typed array', new Float32Array([1.5, NaN]), [1.5, null]],
  ['bigints in a typed array', new BigInt64Array([-1n]), ['-1']],
  ['an Error', new TypeError('x', { cause: 1 }), { name: 'TypeError', message: 'x' }],
  ['an Error with a code', new CallplaneError('closed', 'x'), { name: 'CallplaneError', message: 'x', code: 'closed' }],
  [
    'an Error with a code that is no text',
    Object.assign(new Error('x'), { code: 1n }),
    { name: 'Error', message: 'x', code: '1' },
  ],
])('%s', (_, value, json) => {
  expect(toJson(value)).toStrictEqual(json)
})

test('a large buffer does not overflow the stack', () => {
  expect(toJson(new Uint8Array(1_000_000))).toHaveLength(1_333_336)
})

test('whatever arrives becomes something that JSON carries unchanged', () => {
  const property = fc.property(anyValue, (value) => {
    const json = toJson(decodePayload(encodePayload(value, 'args')))
    expect(JSON.parse(JSON.stringify(json))).toEqual(json)
  })
  fc.assert(property, { numRuns: 2_000 })
})
