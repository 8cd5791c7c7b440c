// Many messages over one HTTP answer: each is a frame, the length of a body in four bytes (big-endian), then the body.
import { CallplaneError } from './errors.ts'
import { decodeBody, encodeBody } from './wire.ts'

const HEADER_BYTES = 4
const FIRST_BYTES = 4_096

export function encodeFrames(values: readonly unknown[]): Uint8Array<ArrayBuffer> {
  const bodies = values.map(encodeBody)
  const frames = new Uint8Array(bodies.reduce((size, body) => size + HEADER_BYTES + body.length, 0))
  const view = new DataView(frames.buffer)
  let offset = 0
  for (const body of bodies) {
    view.setUint32(offset, body.length)
    frames.set(body, offset + HEADER_BYTES)
    offset += HEADER_BYTES + body.length
  }
  return frames
}

/**
 * The messages of a stream of frames, each as soon as it is whole, however the chunks cut them. Throws `invalid_msgpack`
 * for a frame over `maxFrameBytes` (what a hostile sender could make this end hold) or one that the end of the stream
 * cuts short; what the stream itself throws comes through. A consumer that stops early cancels the stream.
 */
export async function* readFrames(
  stream: ReadableStream<Uint8Array>,
  { maxFrameBytes }: { maxFrameBytes: number },
): AsyncGenerator<unknown, void, undefined> {
  const reader = stream.getReader()
  const inbox = new Inbox(maxFrameBytes)
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return inbox.checkEmpty()
      inbox.add(value)
      for (let body = inbox.takeBody(); body !== null; body = inbox.takeBody()) yield decodeBody(body)
    }
  } finally {
    // Not awaited: a source that hangs on its cancel would hang the consumer. At the end of the stream it does nothing.
    reader.cancel().catch(() => {})
  }
}

/** The bytes received and not yet taken, in a buffer that doubles: to join chunks one by one would be quadratic. */
class Inbox {
  private readonly maxFrameBytes: number
  private bytes = new Uint8Array(FIRST_BYTES)
  private start = 0
  private end = 0

  constructor(maxFrameBytes: number) {
    this.maxFrameBytes = maxFrameBytes
  }

  add(chunk: Uint8Array): void {
    if (this.end + chunk.length > this.bytes.length) this.makeRoom(chunk.length)
    this.bytes.set(chunk, this.end)
    this.end += chunk.length
  }

  /** The body of the next frame, copied since the buffer moves on under it; null until it is whole. */
  takeBody(): Uint8Array | null {
    if (this.end - this.start < HEADER_BYTES) return null
    const size = new DataView(this.bytes.buffer).getUint32(this.start)
    if (size > this.maxFrameBytes) throw invalid(`a frame of ${size} bytes, the limit is ${this.maxFrameBytes}`)
    const bodyStart = this.start + HEADER_BYTES
    if (this.end < bodyStart + size) return null
    this.start = bodyStart + size
    return this.bytes.slice(bodyStart, this.start)
  }

  checkEmpty(): void {
    if (this.end > this.start) throw invalid(`the stream ends inside a frame`)
  }

  private makeRoom(size: number): void {
    const held = this.bytes.subarray(this.start, this.end)
    const needed = held.length + size
    if (needed > this.bytes.length / 2) this.bytes = new Uint8Array(needed * 2)
    this.bytes.set(held)
    this.start = 0
    this.end = held.length
  }
}

function invalid(what: string): CallplaneError {
  return new CallplaneError('invalid_msgpack', `The stream is not frames that are accepted here: ${what}.`)
}
