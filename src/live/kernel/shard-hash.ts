// To which shard a row belongs: a hash of some of its values, the same here and in SQL, so that a peer reads no rows of others.
import type { Row, Value } from '../../protocol/relations.ts'

/**
 * The first 32 bits of the md5 of the values' texts: Postgres and CockroachDB both answer md5 as hex, without an extension. It
 * is there to spread, not to hide.
 */
export const HASHES: number = 2 ** 32
export const NULL_TEXT = '~'
/** Different values may give one text: then they have one hash too, which is no harm. */
export const BETWEEN = '|'

/** Of all hashes, those of one shard: as many for each, but for one. `to` is the first that is not. */
export function boundsOf({ of, at }: { of: number; at: number }): { from: number; to: number } {
  return { from: Math.ceil((HASHES * at) / of), to: Math.ceil((HASHES * (at + 1)) / of) }
}

export function isInShard(
  by: readonly ((row: Row) => Value)[],
  shard: { of: number; at: number },
): (row: Row) => boolean {
  const { from, to } = boundsOf(shard)
  const [first = () => null, ...others] = by
  return (row) => {
    let text = textOf(first(row))
    for (const compute of others) text += BETWEEN + textOf(compute(row))
    const hash = hashOf(text)
    return hash >= from && hash < to
  }
}

const textOf = (value: Value): string => (value === null ? NULL_TEXT : String(value))

const SHIFTS = [7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21]
const SINES = Int32Array.from({ length: 64 }, (_, step) => Math.floor(Math.abs(Math.sin(step + 1)) * 2 ** 32))

/** The first four bytes of RFC 1321, as a number. WebCrypto has no md5, and would answer later. */
function md5Start(text: string): number {
  const { block, length } = bytesOf(text)
  const blocks = ((length + 8) >>> 6) + 1
  const words = new Int32Array(blocks * 16)
  for (let at = 0; at < length; at++) words[at >> 2] = (words[at >> 2] ?? 0) | ((block[at] ?? 0) << ((at & 3) << 3))
  words[length >> 2] = (words[length >> 2] ?? 0) | (0x80 << ((length & 3) << 3))
  words[blocks * 16 - 2] = length << 3
  words[blocks * 16 - 1] = length >>> 29

  let [a, b, c, d] = [0x67452301, 0xefcdab89 | 0, 0x98badcfe | 0, 0x10325476]
  for (let begin = 0; begin < words.length; begin += 16) {
    const [a0, b0, c0, d0] = [a, b, c, d]
    for (let step = 0; step < 64; step++) {
      const round = step >> 4
      let [mixed, word] = [0, step]
      if (round === 0) mixed = (b & c) | (~b & d)
      else if (round === 1) [mixed, word] = [(d & b) | (~d & c), 5 * step + 1]
      else if (round === 2) [mixed, word] = [b ^ c ^ d, 3 * step + 5]
      else [mixed, word] = [c ^ (b | ~d), 7 * step]
      const sum = (a + mixed + (SINES[step] ?? 0) + (words[begin + (word & 15)] ?? 0)) | 0
      const shift = SHIFTS[(round << 2) | (step & 3)] ?? 0
      a = d
      d = c
      c = b
      b = (b + ((sum << shift) | (sum >>> (32 - shift)))) | 0
    }
    a = (a + a0) | 0
    b = (b + b0) | 0
    c = (c + c0) | 0
    d = (d + d0) | 0
  }
  return (((a & 0xff) << 24) | ((a & 0xff00) << 8) | ((a >>> 8) & 0xff00) | (a >>> 24)) >>> 0
}

const utf8 = new TextEncoder()
let buffer = new Uint8Array(256)

/** In a buffer that is used again. */
function bytesOf(text: string): { block: Uint8Array; length: number } {
  if (buffer.length < text.length * 3) buffer = new Uint8Array(text.length * 3)
  return { block: buffer, length: utf8.encodeInto(text, buffer).written }
}

/** The shards of a query that are at one peer ask for the same row, one after the other. */
let last = { text: '', hash: md5Start('') }

export function hashOf(text: string): number {
  if (text !== last.text) last = { text, hash: md5Start(text) }
  return last.hash
}
