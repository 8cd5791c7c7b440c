// The error of a function as a payload, whatever was thrown: the part that cannot be sent is left out and said so in its
// place, and the report always fits. Losing it would leave the caller without a reason.
import { encodePayload } from './codec.ts'
import { MAX_PAYLOAD_BYTES } from './limits.ts'
import { PayloadWriter } from './payload-writer.ts'
import { reasonOf, Refusal } from './refusal.ts'

/** Where an error does not go whole, texts are cut here: message and stack then fit even at three bytes a character. */
const MAX_TEXT_CHARS = 128 * 1024

/**
 * Never throws, and what it returns always decodes. What is thrown arrives as it is, error or not, if it can be sent at
 * all. Else a text stands for each part that cannot be, `[left out: functions cannot be sent]`, and long texts are cut and
 * say so. What cannot be sent even in part arrives as an Error with the name, message and stack that it had, if any, and
 * the reason in `leftOut`.
 */
export function encodeThrown(thrown: unknown): Uint8Array<ArrayBuffer> {
  try {
    return encodePayload(thrown, 'error')
  } catch (refusal) {
    return encodeInPart(thrown) ?? encodePayload(standInFor(thrown, refusal), 'error')
  }
}

/** Null where nothing of it can be sent: it is a function, or its properties have names of megabytes. */
function encodeInPart(thrown: unknown): Uint8Array<ArrayBuffer> | null {
  try {
    return new LenientWriter().encode(thrown, 'error')
  } catch {
    return null
  }
}

/** Writes what it can into one payload's room, and says in place what it leaves out. */
class LenientWriter extends PayloadWriter {
  constructor() {
    super(MAX_PAYLOAD_BYTES)
  }

  protected override writeMember(holder: object, key: string | number): void {
    const { pos, depth } = this
    try {
      super.writeMember(holder, key)
    } catch (thrown) {
      this.pos = pos
      this.leave(depth)
      this.writeString(`[left out: ${reasonOf(thrown)}]`)
    }
  }

  protected override writeText(text: string): void {
    super.writeText(text.length > MAX_TEXT_CHARS ? cut(text, MAX_TEXT_CHARS) : text)
  }

  /** At each step, unlike where a cycle ends the walk: 64 rounds of a cycle with two ways are 2^64 values. */
  protected override enter(holder: object, nodes: number): void {
    if (this.isInside(holder)) throw new Refusal('cycles cannot be sent')
    super.enter(holder, nodes)
  }

  protected override grow(): never {
    throw new Refusal('it is too large')
  }

  protected override drop(): never {
    throw new Refusal('it is too large')
  }
}

function standInFor(thrown: unknown, refusal: unknown): Error {
  const reason = refusal instanceof Error ? refusal.message : ''
  const error = new Error(textOf(thrown, 'message') ?? `What was thrown cannot be sent: ${reason}`)
  error.name = textOf(thrown, 'name') ?? 'Error'
  error.stack = textOf(thrown, 'stack') ?? ''
  return Object.assign(error, { leftOut: reason })
}

function textOf(thrown: unknown, key: 'message' | 'name' | 'stack'): string | undefined {
  try {
    if (typeof thrown !== 'object') return undefined // a function has a name that says nothing of an error
    const text = (thrown as Record<string, unknown> | null)?.[key] // any object may be asked for any key
    return typeof text === 'string' ? cut(text, 10_000) : undefined
  } catch {
    return undefined
  }
}

function cut(text: string, chars: number): string {
  if (text.length <= chars) return text
  // Well-formed again, should the cut have parted a pair of surrogates.
  return `${text.slice(0, chars).toWellFormed()}… [left out: ${text.length - chars} more characters]`
}
