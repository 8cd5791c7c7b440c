// Walks the opcodes of a msgpack document without building anything, so that hostile bytes are refused before a decoder
// spends memory on them: the five bytes of one array header make it allocate 240 MB, 6 kB of nested headers 1.1 GB.
import { CallplaneError } from './errors.ts'
import { MAX_DEPTH, MAX_NODES } from './limits.ts'

// Two rows for the opcodes 0xc0 to 0xdf: how many bytes state a length, and how many follow whatever it states
// (a number's own bytes; an extension's type and fixed data).
const LENGTH_BYTES = [0, 0, 0, 0, 1, 2, 4, 1, 2, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 2, 4, 2, 4]
const FIXED_BYTES = [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 2, 3, 5, 9, 17, 0, 0, 0, 0, 0, 0, 0]

const NO_EXTENSIONS: ReadonlySet<number> = new Set()
const PROTO = Array.from('__proto__', (char) => char.charCodeAt(0))

// What the containers around the current one still wait for. All scans share them: a scan calls nobody who could scan.
const outerLeft: number[] = Array.from({ length: MAX_DEPTH }, () => 0)
const outerIsMap: boolean[] = Array.from({ length: MAX_DEPTH }, () => false)

/**
 * Throws `invalid_msgpack` unless `bytes`, from `start`, are exactly one msgpack document that is safe to decode: at most
 * MAX_DEPTH containers deep and MAX_NODES values (map keys count), claiming nothing that the bytes do not hold, with
 * string map keys other than `__proto__`, and no extension type outside `extTypes`. Time is linear, memory constant.
 * The data of an extension is opaque to it: never allow a type whose data is msgpack again.
 */
export function scanMsgpack(bytes: Uint8Array, extTypes: ReadonlySet<number> = NO_EXTENSIONS, start = 0): void {
  let pos = start
  let nodes = 1
  let depth = 0
  let left = 1 // values that the innermost container waits for
  let isMap = false

  // One loop with its state in locals, for speed: a full body is 200,000 turns.
  for (;;) {
    while (left === 0) {
      if (depth === 0) return checkEnd(bytes, pos)
      depth--
      left = outerLeft[depth] ?? 0
      isMap = outerIsMap[depth] ?? false
    }

    const at = pos++
    const op = bytes[at] ?? refuse('the bytes end where a value is due', at)
    const isKey = isMap && left % 2 === 0
    if (isKey && !isString(op)) refuse('a map key is not a string', at)
    left--

    let claimed = 0
    if (op < 0xc0) {
      if (op >= 0x80) claimed = op < 0xa0 ? op & 0x0f : op & 0x1f
    } else if (op < 0xe0) {
      if (op === 0xc1) refuse('0xc1 stands for nothing', at)
      const lengthBytes = LENGTH_BYTES[op - 0xc0] ?? 0
      claimed = readLength(bytes, pos, lengthBytes) + (FIXED_BYTES[op - 0xc0] ?? 0)
      pos += lengthBytes
    }
    const bytesLeft = bytes.length - pos // negative where a header is cut short, so that any claim is too much

    if (!isContainer(op)) {
      if (claimed > bytesLeft) refuse(`a value claims ${claimed} bytes, ${Math.max(bytesLeft, 0)} are left`, at)
      if (isExtension(op)) checkExtension(bytes, pos, extTypes)
      if (isKey && claimed === PROTO.length) checkKey(bytes, pos)
      pos += claimed
      continue
    }

    const opensMap = op < 0x90 || op >= 0xde
    const values = opensMap ? claimed * 2 : claimed
    nodes += values
    if (values > bytesLeft) refuse(`a container claims ${values} values, ${Math.max(bytesLeft, 0)} bytes are left`, at)
    if (nodes > MAX_NODES) refuse(`there are more than ${MAX_NODES} values`, at)
    if (depth === MAX_DEPTH) refuse(`containers nest deeper than ${MAX_DEPTH}`, at)
    outerLeft[depth] = left
    outerIsMap[depth] = isMap
    depth++
    left = values
    isMap = opensMap
  }
}

function isString(op: number): boolean {
  return (op >= 0xa0 && op < 0xc0) || (op >= 0xd9 && op <= 0xdb)
}

function isContainer(op: number): boolean {
  return (op >= 0x80 && op < 0xa0) || (op >= 0xdc && op <= 0xdf)
}

function isExtension(op: number): boolean {
  return (op >= 0xc7 && op <= 0xc9) || (op >= 0xd4 && op <= 0xd8)
}

function readLength(bytes: Uint8Array, pos: number, lengthBytes: number): number {
  let length = 0
  for (let i = 0; i < lengthBytes; i++) length = length * 256 + (bytes[pos + i] ?? 0)
  return length
}

/** `pos` is where the type stands. Types above 127 are the negative ones that msgpack keeps for itself (0xff: timestamp). */
function checkExtension(bytes: Uint8Array, pos: number, extTypes: ReadonlySet<number>): void {
  const type = bytes[pos] ?? 0
  if (!extTypes.has(type)) refuse(`the extension type 0x${type.toString(16)} is not known`, pos)
}

function checkKey(bytes: Uint8Array, pos: number): void {
  if (PROTO.every((byte, i) => bytes[pos + i] === byte)) refuse('a map has the key __proto__', pos)
}

function checkEnd(bytes: Uint8Array, pos: number): void {
  if (pos < bytes.length) refuse(`${bytes.length - pos} bytes follow the document`, pos)
}

function refuse(what: string, offset: number): never {
  throw new CallplaneError(
    'invalid_msgpack',
    `The bytes are not msgpack that is accepted here: ${what} (at byte ${offset}).`,
  )
}
