// Values of the kernel: their order, and a text that no two different rows share.
import type { Columns, ColumnType, Row, Value } from '../../protocol/relations.ts'

export type Compare<T> = (a: T, b: T) => number

/** By code points, as Postgres orders the bytes of UTF-8: surrogates come after the rest of the 16-bit units. */
function compareText(a: string, b: string): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const [unitA, unitB] = [a.charCodeAt(i), b.charCodeAt(i)]
    if (unitA === unitB) continue
    return orderOfUnit(unitA) - orderOfUnit(unitB)
  }
  return a.length - b.length
}

function orderOfUnit(unit: number): number {
  if (unit < 0xd800) return unit
  return unit >= 0xe000 ? unit - 0x800 : unit + 0x2000
}

/** Two values of one type that are not null. */
export function compareValues(a: Value, b: Value): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b
  if (typeof a === 'string' && typeof b === 'string') return compareText(a, b)
  if (a === b || a === null || b === null) return 0
  return a < b ? -1 : 1
}

/** Nulls last, and first in `desc`, as in Postgres. */
function compareNullable(a: Value, b: Value): number {
  if (a === null || b === null) return (a === null ? 1 : 0) - (b === null ? 1 : 0)
  return compareValues(a, b)
}

/** By the columns of `order`, then by every column: 0 for equal rows alone. */
export function compareRows(order: readonly { index: number; sign: 1 | -1 }[], width: number): Compare<Row> {
  const all = [...order, ...Array.from({ length: width }, (_, index) => ({ index, sign: 1 }))]
  const seen = new Set<number>()
  const [first = { index: 0, sign: 1 }, ...others] = all.filter(({ index }) => !seen.has(index) && seen.add(index))
  return (a, b) => {
    const x = a[first.index] ?? null
    const y = b[first.index] ?? null
    // Most rows differ in the first number.
    if (typeof x === 'number' && typeof y === 'number' && x !== y) return (x - y) * first.sign
    const order = compareNullable(x, y)
    if (order !== 0) return order * first.sign
    for (const { index, sign } of others) {
      const order = compareNullable(a[index] ?? null, b[index] ?? null)
      if (order !== 0) return order * sign
    }
    return 0
  }
}

/** A number that never contradicts `compareValues` among the values of one type: of a text, its first three units. */
export function rankOf(value: Value): number {
  if (typeof value === 'number') return value
  if (typeof value !== 'string') return Number(value)
  let rank = 0
  for (let i = 0; i < 3; i++) rank = rank * 0x10000 + (i < value.length ? orderOfUnit(value.charCodeAt(i)) : 0)
  return rank
}

/** The rank of a row among others: that of the column by which they are ordered first. */
export function rankBy({ index, sign }: { index: number; sign: 1 | -1 }): (row: Row) => number {
  return (row) => {
    const value = row[index] ?? null
    return (value === null ? Number.POSITIVE_INFINITY : rankOf(value)) * sign
  }
}

function keyOfValue(value: Value): string {
  if (typeof value === 'string') return `${value.length}:${value}`
  if (value === null) return '~'
  if (typeof value === 'boolean') return value ? 't' : 'f'
  return `${value};`
}

/** The values of a row at these places as a text; `rowOfKey` reads it back. */
export function keyAt(indices: readonly number[]): (row: Row) => string {
  const [first = 0, second = 0] = indices
  if (indices.length === 1) return (row) => keyOfValue(row[first] ?? null)
  if (indices.length === 2) return (row) => keyOfValue(row[first] ?? null) + keyOfValue(row[second] ?? null)
  return (row) => {
    let key = ''
    for (const index of indices) key += keyOfValue(row[index] ?? null)
    return key
  }
}

export function keyOfRow(row: Row): string {
  let key = ''
  for (const value of row) key += keyOfValue(value)
  return key
}

export function rowOfKey(key: string, types: readonly ColumnType[]): Row {
  let at = 0
  const until = (end: string): string => {
    const to = key.indexOf(end, at)
    const text = key.slice(at, to)
    at = to + 1
    return text
  }
  return types.map((type) => {
    const first = key[at]
    if (first === '~' || type === 'bool') {
      at++
      return first === '~' ? null : first === 't'
    }
    if (type === 'int64') return BigInt(until(';'))
    if (type !== 'text') return Number(until(';'))
    const length = Number(until(':'))
    at += length
    return key.slice(at - length, at)
  })
}

export const typesOf = (columns: Columns): ColumnType[] => [...columns.values()]

export function indexOf(columns: Columns, name: string): number {
  return [...columns.keys()].indexOf(name)
}
