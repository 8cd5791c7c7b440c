import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CallplaneError } from '../../src/protocol/errors.ts'
import { encodeFrames, readFrames } from '../../src/protocol/frames.ts'

const LIMIT = { maxFrameBytes: 1_000_000 }

function streamOf(...chunks: Uint8Array[]): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk)
      controller.close()
    },
  })
}

async function read(stream: ReadableStream<Uint8Array>, limit = LIMIT): Promise<unknown[]> {
  const messages: unknown[] = []
  for await (const message of readFrames(stream, limit)) messages.push(message)
  return messages
}

/** Cut at the given places, which may be equal (empty chunks). */
function cut(bytes: Uint8Array, places: number[]): Uint8Array[] {
  const ends = [...places.map((place) => place % (bytes.length + 1)).toSorted((a, b) => a - b), bytes.length]
  return ends.map((end, i) => bytes.slice(i === 0 ? 0 : ends[i - 1], end))
}

/** A stream that never ends, and tells whether it was cancelled. */
function endless(...chunks: Uint8Array[]): { stream: ReadableStream<Uint8Array>; wasCancelled: () => boolean } {
  let isCancelled = false
  const stream = new ReadableStream<Uint8Array>({
    start: (controller) => chunks.forEach((chunk) => controller.enqueue(chunk)),
    cancel: () => void (isCancelled = true),
  })
  return { stream, wasCancelled: () => isCancelled }
}

const invalid = expect.toSatisfy(
  (thrown: unknown) => thrown instanceof CallplaneError && thrown.code === 'invalid_msgpack',
)

test('messages arrive in order however the chunks cut them', async () => {
  const message = fc.oneof(
    fc.string({ maxLength: 20 }),
    fc.uint8Array({ maxLength: 300 }),
    fc.constant({ a: [1, null] }),
  )
  const cases = fc.tuple(fc.array(message, { maxLength: 8 }), fc.array(fc.nat(), { maxLength: 20 }))
  const property = fc.asyncProperty(cases, async ([messages, places]) => {
    const bytes = Buffer.from(encodeFrames(messages))
    expect(await read(streamOf(...cut(bytes, places)))).toEqual(messages)
  })
  await fc.assert(property, { numRuns: 3_000 })
})

test('messages arrive byte by byte, and those before are not changed by those after', async () => {
  const small = Array.from({ length: 100 }, (_, i) => new Uint8Array(100).fill(i))
  const messages = [...small, new Uint8Array(50_000).fill(200), 'end']
  const bytes = Buffer.from(encodeFrames(messages))
  const chunks = Array.from({ length: bytes.length }, (_, i) => bytes.subarray(i, i + 1))
  expect(await read(streamOf(...chunks))).toEqual(messages)
})

test('a message is given out before the next has begun', async () => {
  const { stream } = endless(encodeFrames(['first']))
  const frames = readFrames(stream, LIMIT)
  expect(await frames.next()).toEqual({ done: false, value: 'first' })
})

test('an empty stream has no messages', async () => {
  expect(await read(streamOf())).toEqual([])
})

test('a frame over the cap is refused before its bytes have come', async () => {
  const { stream, wasCancelled } = endless(new Uint8Array([0, 0, 0, 11]))
  await expect(read(stream, { maxFrameBytes: 10 })).rejects.toThrow('a frame of 11 bytes, the limit is 10')
  expect(wasCancelled()).toBe(true)
})

test('a frame of exactly the cap is accepted', async () => {
  const frame = encodeFrames(['123456789'])
  expect(await read(streamOf(frame), { maxFrameBytes: frame.length - 4 })).toEqual(['123456789'])
  await expect(read(streamOf(frame), { maxFrameBytes: frame.length - 5 })).rejects.toThrow(invalid)
})

test.each([1, 3, 4, 5])('a stream that ends %i bytes into a frame is refused, after what was whole', async (bytes) => {
  const frames = readFrames(streamOf(encodeFrames(['whole']), encodeFrames(['cut']).slice(0, bytes)), LIMIT)
  expect((await frames.next()).value).toBe('whole')
  await expect(frames.next()).rejects.toThrow(invalid)
})

test('a frame that holds no msgpack is refused', async () => {
  await expect(read(streamOf(new Uint8Array([0, 0, 0, 1, 0xc1])))).rejects.toThrow(invalid)
  await expect(read(streamOf(new Uint8Array([0, 0, 0, 0])))).rejects.toThrow(invalid)
})

describe('the stream', () => {
  test('is cancelled when the consumer stops early', async () => {
    const { stream, wasCancelled } = endless(encodeFrames([1]), encodeFrames([2]))
    for await (const message of readFrames(stream, LIMIT)) {
      expect(message).toBe(1)
      break
    }
    expect(wasCancelled()).toBe(true)
  })

  test('is cancelled when a frame is refused', async () => {
    const { stream, wasCancelled } = endless(new Uint8Array([0, 0, 0, 1, 0xc1]))
    await expect(read(stream)).rejects.toThrow(invalid)
    expect(wasCancelled()).toBe(true)
  })

  test('that hangs in its cancel does not hold the consumer', async () => {
    const stream = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(encodeFrames([1])),
      cancel: () => new Promise(() => {}),
    })
    for await (const message of readFrames(stream, LIMIT)) {
      expect(message).toBe(1)
      break
    }
  })

  test('that fails in its cancel does not disturb the consumer', async () => {
    const stream = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(encodeFrames([1])),
      cancel: () => Promise.reject(new Error('nobody waits for this')),
    })
    for await (const message of readFrames(stream, LIMIT)) {
      expect(message).toBe(1)
      break
    }
    await new Promise((resolve) => setImmediate(resolve)) // a rejection that nobody handles is told by now
  })

  test('that fails passes its own error on', async () => {
    const broken = new Error('connection reset')
    const stream = new ReadableStream<Uint8Array>({ start: (controller) => controller.error(broken) })
    await expect(read(stream)).rejects.toBe(broken)
  })
})
