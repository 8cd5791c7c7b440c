// Cuts a stream of bytes into lines of text, and holds no more of a line than one may have.
import { isUtf8 } from 'node:buffer'
import { MAX_LIVE_FRAME_BYTES } from '../protocol/limits.ts'
import { CLOSE, type Refusal } from './client.node.ts'

const NEWLINE = 0x0a
const RETURN = 0x0d
const NOTHING = Buffer.alloc(0)
const FIRST_BYTES = 1024

const TOO_LONG: Refusal = {
  code: 'payload_too_large',
  message: `a line is at most ${MAX_LIVE_FRAME_BYTES} bytes`,
  close: CLOSE.tooLong,
}
const NOT_UTF8: Refusal = {
  code: 'invalid_request',
  message: 'a line is UTF-8, and this one is not',
  close: CLOSE.notText,
}

export class Lines {
  // A copy of what has come, not the chunks themselves: one that brought a single byte costs some hundred.
  #held: Buffer = NOTHING
  #heldBytes = 0

  /** How much there is of a line that has not ended. */
  get unfinishedBytes(): number {
    return this.#heldBytes
  }

  /** The lines that end in a chunk, without the empty ones. Nothing is to be read behind a refusal. */
  take(chunk: Buffer): (string | Refusal)[] {
    const lines: (string | Refusal)[] = []
    let start = 0
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      if (!this.#fits(end - start)) return [...lines, this.#refuse(TOO_LONG)]
      const line = textOf(this.#whole(chunk.subarray(start, end)))
      start = end + 1
      if (line === '') continue
      lines.push(line)
      if (typeof line !== 'string') return lines
    }
    if (!this.#fits(chunk.length - start)) return [...lines, this.#refuse(TOO_LONG)]
    this.#hold(chunk.subarray(start))
    return lines
  }

  /** One more than a line's own, which may be the return before its end. */
  #fits(bytes: number): boolean {
    return this.#heldBytes + bytes <= MAX_LIVE_FRAME_BYTES + 1
  }

  #refuse(refusal: Refusal): Refusal {
    this.#whole(NOTHING)
    return refusal
  }

  #whole(end: Buffer): Buffer {
    if (this.#heldBytes === 0) return end
    this.#hold(end)
    const line = this.#held.subarray(0, this.#heldBytes)
    this.#held = NOTHING
    this.#heldBytes = 0
    return line
  }

  #hold(part: Buffer): void {
    if (part.length === 0) return
    const needed = this.#heldBytes + part.length
    if (needed > this.#held.length) {
      const doubled = Math.min(Math.max(2 * this.#held.length, FIRST_BYTES), MAX_LIVE_FRAME_BYTES + 1)
      const larger = Buffer.allocUnsafeSlow(Math.max(needed, doubled))
      this.#held.copy(larger, 0, 0, this.#heldBytes)
      this.#held = larger
    }
    part.copy(this.#held, this.#heldBytes)
    this.#heldBytes = needed
  }
}

function textOf(line: Buffer): string | Refusal {
  const bytes = line.at(-1) === RETURN ? line.subarray(0, -1) : line
  if (bytes.length > MAX_LIVE_FRAME_BYTES) return TOO_LONG
  return isUtf8(bytes) ? bytes.toString('utf8') : NOT_UTF8
}
