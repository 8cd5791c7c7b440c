// Frames as msgpack: the same as in JSON, and whatever a client sends, no more than that.
import { expect, onTestFinished, test, vi } from 'vitest'
import { offersMsgpack, packed, parsePackedFrame } from '../../src/live/msgpack-frames.ts'
import { parseLiveFrame } from '../../src/protocol/live.ts'
import { decodeBody, encodeBody } from '../../src/protocol/wire.ts'

test.each([
  [
    [
      { id: 1, Interest: { name: 'states', granularity: 5 } },
      { id: 'two', Status: {} },
    ],
  ],
  [[{ id: 3, Transact: { changes: [{ relation: 'r', row: { a: null, b: 'ü', c: 0.5, d: true }, diff: -2 }] } }]],
  [[{ id: 4, Nothing: {} }, 5]],
  [{ id: 6, Status: {} }],
  [[]],
])('%j is the same in both', (frame) => {
  expect(parsePackedFrame(encodeBody(frame))).toEqual(parseLiveFrame(JSON.stringify(frame)))
})

test.each([
  ['a frame', new Uint8Array(1_000_000)],
  ['a name', [{ id: 1, Interest: { name: new Uint8Array([1]) } }]],
  ['a value', [{ id: 1, Transact: { changes: [{ relation: 'r', row: { a: new Uint8Array(1_000_000) } }] } }]],
])('binary data as %s is refused, and not written out as JSON', (_, frame) => {
  const parse = vi.spyOn(JSON, 'parse')
  onTestFinished(() => parse.mockRestore())
  expect(parsePackedFrame(encodeBody(frame))).toMatchObject([{ id: null, error: { code: 'invalid_msgpack' } }])
  expect(parse).not.toHaveBeenCalled()
})

test.each([
  ['nothing', []],
  ['a byte that msgpack has not', [0xc1]],
  ['more than one document', [0x90, 0x90]],
  ['an array that ends too soon', [0x92, 0x90]],
  ['an array of four thousand million', [0xdd, 0xff, 0xff, 0xff, 0xff]],
  ['what is nested too deep', [...Array.from({ length: 1_000 }, () => 0x91), 0x90]],
])('%s is refused', (_, bytes) => {
  expect(parsePackedFrame(new Uint8Array(bytes))).toMatchObject([{ id: null, error: { code: 'invalid_msgpack' } }])
})

test('a frame that goes to many is packed once', () => {
  const frame = JSON.stringify({ Progress: ['states', 7] })
  expect(decodeBody(packed(frame))).toEqual({ Progress: ['states', 7] })
  expect(packed(frame)).toBe(packed(frame))
  expect(decodeBody(packed('{"Ok":1}'))).toEqual({ Ok: 1 })
})

test.each([
  [null, false],
  ['', false],
  ['callplane.msgpack', true],
  ['other , callplane.msgpack', true],
  ['callplane.msgpack2', false],
])('a client that offers %j speaks it: %j', (offered, speaks) => {
  expect(offersMsgpack(offered)).toBe(speaks)
})
