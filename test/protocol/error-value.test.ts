import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodePayload, encodePayload } from '../../src/protocol/codec.ts'
import { encodeThrown } from '../../src/protocol/error-value.ts'
import { MAX_PAYLOAD_BYTES } from '../../src/protocol/limits.ts'
import { anyValue } from './any-value.ts'

function arrivalOf(thrown: unknown): unknown {
  const payload = encodeThrown(thrown)
  expect(payload.length).toBeLessThanOrEqual(MAX_PAYLOAD_BYTES)
  return decodePayload(payload)
}

const revoked = Proxy.revocable({}, {})
revoked.revoke()

test('what can be sent whole arrives as it was thrown, error or not', () => {
  for (const thrown of [new RangeError('x', { cause: [1n] }), 'text', undefined, null, 0, { code: 1 }, new Map()]) {
    expect(encodeThrown(thrown)).toEqual(encodePayload(thrown, 'error'))
  }
})

describe('of an error that cannot be sent whole', () => {
  test('each part that cannot is replaced by the reason, and all others arrive', () => {
    class Socket {}
    const thrown = Object.assign(new TypeError('refused', { cause: { fn: () => 1, fine: 1 } }), {
      code: 'ECONNREFUSED',
      socket: new Socket(),
      retry() {},
      list: [1, Symbol('s'), new Date(0)],
      [Symbol('brand')]: true,
    })
    const got = arrivalOf(thrown) as TypeError
    expect(got).toBeInstanceOf(TypeError)
    expect(got.stack).toBe(thrown.stack)
    expect(got).toMatchObject({
      message: 'refused',
      code: 'ECONNREFUSED',
      cause: { fn: '[left out: functions cannot be sent]', fine: 1 },
      socket: '[left out: instances of the class Socket cannot be sent; send a plain object]',
      retry: '[left out: functions cannot be sent]',
      list: [1, '[left out: symbols cannot be sent]', new Date(0)],
      'Symbol(brand)': '[left out: symbols cannot be sent]',
    })
  })

  test('a cycle is cut where it closes', () => {
    const thrown: Error & { self?: unknown } = new Error('round')
    thrown.cause = new Error('and', { cause: thrown })
    thrown.self = thrown
    const got = arrivalOf(thrown) as typeof thrown
    expect((got.cause as Error).cause).toBe('[left out: cycles cannot be sent]')
    expect(got.self).toBe('[left out: cycles cannot be sent]')
  })

  test('an object that stands twice in it is told twice', () => {
    const half = { fine: 1, holes: Array(2) }
    const got = arrivalOf(Object.assign(new Error('x'), { list: [half, half] })) as { list: unknown }
    const told = { fine: 1, holes: '[left out: holes in an array cannot be sent]' }
    expect(got.list).toEqual([told, told])
  })

  test('a cycle with two ways to go is cut just as soon', () => {
    const node: Record<string, unknown> = {}
    Object.assign(node, { left: node, right: node, both: [node, node] })
    const got = arrivalOf(Object.assign(new Error('x'), { node })) as { node: unknown }
    const cut = '[left out: cycles cannot be sent]'
    expect(got.node).toEqual({ left: cut, right: cut, both: [cut, cut] })
  })

  test('a getter that throws, a revoked proxy and a message that cannot be read are left out alone', () => {
    const thrown = Object.assign(new Error('x'), { proxy: revoked.proxy, last: 1 })
    Object.defineProperty(thrown, 'message', {
      get() {
        throw new Error('unreadable')
      },
    })
    Object.defineProperty(thrown, 'worse', {
      enumerable: true,
      get() {
        throw revoked.proxy
      },
    })
    expect(arrivalOf(thrown)).toMatchObject({
      message: '[left out: reading it threw Error: unreadable]',
      proxy: expect.stringMatching(/^\[left out: reading it threw TypeError: /),
      worse: '[left out: reading it threw]',
      last: 1,
    })
  })

  test('a message and a stack of megabytes are cut and say so, whatever their characters', () => {
    for (const char of ['x', '€', '𝄞', '\ud800']) {
      const thrown = new RangeError(`x${char.repeat(5_000_000)}`)
      const got = arrivalOf(thrown) as RangeError
      expect(got).toBeInstanceOf(RangeError)
      expect(got.message).toMatch(/… \[left out: \d+ more characters\]$/)
      expect(got.message.length).toBeGreaterThan(100_000)
      expect(got.message.isWellFormed()).toBe(true)
      expect(got.stack).toMatch(/… \[left out: \d+ more characters\]$/)
    }
  })

  test('what is too large is left out, and what is small beside it arrives', () => {
    const thrown = Object.assign(new Error('big'), {
      body: new Uint8Array(2_000_000),
      status: 500,
      rows: Array(300_000).fill(1),
    })
    expect(arrivalOf(thrown)).toMatchObject({
      message: 'big',
      body: '[left out: it is too large]',
      status: 500,
      rows: '[left out: a payload has at most 200000 values; send a reference to the data]',
    })
  })

  test('a hundred causes of a hundred kilobytes each are told as far as they fit', () => {
    let thrown = new Error('first')
    for (let i = 0; i < 100; i++) thrown = new Error(`${i} ${'x'.repeat(100_000)}`, { cause: thrown })
    const got = arrivalOf(thrown) as Error
    expect(got.message).toMatch(/^99 x/)
    expect((got.cause as Error).message).toMatch(/^98 x/)
  })

  test('a pattern of megabytes is left out whole, since half of it may be none', () => {
    const thrown = Object.assign(new Error('x'), { fn() {}, pattern: new RegExp(`(${'a'.repeat(1_200_000)})`) })
    expect(arrivalOf(thrown)).toMatchObject({ message: 'x', pattern: '[left out: it is too large]' })
    const cut = Object.assign(new Error('x'), { fn() {}, pattern: new RegExp(`(${'a'.repeat(200_000)})`) })
    expect((arrivalOf(cut) as typeof cut).pattern).toEqual(cut.pattern)
  })
})

describe('what cannot be sent even in part arrives as an Error that says so', () => {
  test('a function', () => {
    expect(arrivalOf(function boom() {})).toMatchObject({
      name: 'Error',
      message: 'What was thrown cannot be sent: error: functions cannot be sent',
      leftOut: 'error: functions cannot be sent',
    })
  })

  test('an instance of a class that is no error keeps what it has of one', () => {
    class GrpcStatus {
      name = 'GrpcStatus'
      message = 'unavailable'
    }
    const got = arrivalOf(new GrpcStatus())
    expect(got).toBeInstanceOf(Error)
    expect(got).toMatchObject({
      name: 'GrpcStatus',
      message: 'unavailable',
      leftOut: 'error: instances of the class GrpcStatus cannot be sent; send a plain object',
    })
  })

  test('an error with a property whose name is megabytes long', () => {
    const got = arrivalOf(Object.assign(new TypeError('kept'), { ['k'.repeat(3_000_000)]: 1 }))
    expect(got).toMatchObject({ name: 'TypeError', message: 'kept', leftOut: expect.stringMatching(/3000\d+ bytes/) })
  })

  test('a revoked proxy', () => {
    expect(arrivalOf(revoked.proxy)).toMatchObject({ leftOut: expect.stringMatching(/^error: reading it threw/) })
  })
})

/** By index, since fast-check itself trips over a revoked proxy. */
const POISONS: unknown[] = [
  () => 1,
  Symbol('s'),
  revoked.proxy,
  new WeakMap(),
  Array(3),
  new Proxy(
    {},
    {
      ownKeys() {
        throw revoked.proxy
      },
    },
  ),
  { get: revoked.proxy },
  'x'.repeat(700_000),
]

test('the report is never lost, whatever is thrown, with whatever inside', { timeout: 60_000 }, () => {
  const part = fc.oneof(
    anyValue.map((value) => ({ value })),
    fc.nat(POISONS.length - 1).map((poison) => ({ poison })),
  )
  const property = fc.property(fc.array(part, { maxLength: 5 }), fc.boolean(), (parts, isError) => {
    const values = parts.map((chosen) => ('poison' in chosen ? POISONS[chosen.poison] : chosen.value))
    const got = decodePayload(
      encodeThrown(isError ? Object.assign(new Error('x', { cause: values[0] }), { values }) : values[0]),
    )
    return !isError || (got instanceof Error && got.message === 'x')
  })
  fc.assert(property, { numRuns: 2_000 })
})
