// About how many bytes of memory rows and values take, as V8 lays them out on 64 bits: told from a few of them whenever somebody
// asks, so that no tick pays for it. Of the plans of the test it is within a quarter of what the heap grows by. What two
// queries share counts for both.
import type { Row, Value } from '../../protocol/relations.ts'

/** So many are weighed, and the others taken to be like them. */
const SAMPLE = 20
const SLOT = 8
const OBJECT = 3 * SLOT
const ARRAY = 6 * SLOT
const TEXT = 3 * SLOT
/** A map's own, with what is free in it. */
const MAP_ENTRY = 5 * SLOT
/** Of three lists side by side, with what is free in them. */
const SORTED_ENTRY = 7 * SLOT
/** What is known of a column in a group: numbers, and the functions that count them. */
export const ACCUMULATOR = 700

/** An object with so many fields. */
export const objectBytes = (fields: number): number => OBJECT + fields * SLOT

function textBytes(length: number): number {
  return TEXT + length
}

/** Beside the slot that refers to it. */
function valueBytes(value: Value): number {
  if (typeof value === 'string') return textBytes(value.length)
  if (typeof value === 'bigint') return 3 * SLOT
  // A small whole number is in its slot.
  return typeof value === 'number' && (value | 0) !== value ? 2 * SLOT : 0
}

export function rowBytes(row: Row): number {
  return row.reduce<number>((sum, value) => sum + SLOT + valueBytes(value), ARRAY)
}

/** An entry of a map with its key; the entry is an object with so many fields. */
export function entryBytes(key: string, row: Row, fields: number): number {
  return MAP_ENTRY + textBytes(key.length) + objectBytes(fields) + rowBytes(row)
}

export const sortedValueBytes = (value: Value): number => SORTED_ENTRY + valueBytes(value)
export const sortedRowBytes = (row: Row): number => SORTED_ENTRY + rowBytes(row)

/** Of a thing that is found by values. */
export const indexBytes = (): number => MAP_ENTRY + objectBytes(2)

/** Of so many things, by the first of them. */
export function aboutBytes<T>(things: Iterable<T>, count: number, bytesOf: (thing: T) => number): number {
  let [bytes, weighed] = [0, 0]
  for (const thing of things) {
    bytes += bytesOf(thing)
    if (++weighed === SAMPLE) break
  }
  return weighed === 0 ? 0 : (bytes / weighed) * count
}
