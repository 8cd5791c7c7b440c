// What a group remembers of its rows. Each takes a row back exactly as it took it in.
import type { Aggregate } from '../../protocol/plan.ts'
import { columnType } from '../../protocol/plan-columns.ts'
import type { Columns, ColumnType, Row, Value } from '../../protocol/relations.ts'
import { bucketBound } from './buckets.ts'
import { checkOf, inRange, QueryFault, type Check } from './evaluate.ts'
import { ExactSum, ofUnits, quotient, unitsOf } from './exact.ts'
import { listOfState, type State } from './operator.ts'
import { SortedBag } from './sorted-bag.ts'
import { compareValues, indexOf, keyOfRow, rankOf, rowOfKey } from './values.ts'

export interface Accumulator {
  add: (row: Row, diff: number) => void
  read: (op: Aggregate['op']) => Value
  held: () => number
  dump: () => State
  load: (state: State) => void
}

/** Aggregates of the same kind over the same column share one; `key` tells which. */
export interface AccumulatorKind {
  key: string
  make: () => Accumulator
}

export function accumulatorFor(of: Aggregate, columns: Columns): AccumulatorKind {
  if (of.op === 'rate') {
    const where = checkOf(of.where, columns)
    const among = of.among === undefined ? () => true : checkOf(of.among, columns)
    return { key: JSON.stringify(of), make: () => share(where, among) }
  }
  const { column } = of
  if (column === undefined) return { key: 'count', make: () => counter(() => true) }
  const [index, type] = [indexOf(columns, column), columnType(columns, column)]
  switch (of.op) {
    case 'count':
      return { key: `count ${column}`, make: () => counter((row) => (row[index] ?? null) !== null) }
    case 'sum':
    case 'avg':
      return { key: `moments ${column}`, make: () => moments(index, type, { hasSquares: false }) }
    case 'variance':
      return { key: `squares ${column}`, make: () => moments(index, type, { hasSquares: true }) }
    case 'min':
    case 'max':
    case 'median':
      return { key: `sorted ${column}`, make: () => sorted(index, type, (value) => value) }
    default: {
      const bound = (value: Value): Value => (typeof value === 'number' ? bucketBound(value) : null)
      return { key: `buckets ${column}`, make: () => sorted(index, type, bound) }
    }
  }
}

function counter(fits: Check): Accumulator {
  let count = 0
  return {
    add: (row, diff) => {
      if (fits(row) === true) count += diff
    },
    read: () => count,
    held: () => 0,
    dump: () => count,
    load: (state) => void (count = Number(state)),
  }
}

function share(where: Check, among: Check): Accumulator {
  let [all, fitting] = [0, 0]
  return {
    add: (row, diff) => {
      if (among(row) !== true) return
      all += diff
      if (where(row) === true) fitting += diff
    },
    read: () => (all === 0 ? null : fitting / all),
    held: () => 0,
    dump: () => [all, fitting],
    load: (state) => void ([all, fitting] = listOfState(state).map(Number) as [number, number]), // as dumped above
  }
}

/** Count, sum and sum of squares: of a float in units of the smallest one. */
function moments(index: number, type: ColumnType, { hasSquares }: { hasSquares: boolean }): Accumulator {
  let [count, sum, squares] = [0, new ExactSum(), new ExactSum()]
  const isFloat = type === 'float'

  const total = (): Value => {
    if (isFloat) return inRange(ofUnits(sum.value, 1, 1n), type)
    if (type === 'int64') return inRange(sum.value, type)
    if (sum.small === null) throw new QueryFault('a sum is out of the range of int')
    return inRange(sum.small, type)
  }
  const mean = (): number => {
    if (sum.small !== null && !isFloat) return sum.small / count
    return isFloat ? ofUnits(sum.value, 1, BigInt(count)) : quotient(sum.value, BigInt(count))
  }
  const spread = (): number => {
    const n = BigInt(count)
    const dividend = n * squares.value - sum.value ** 2n
    return isFloat ? ofUnits(dividend, 2, n * n) : quotient(dividend, n * n)
  }
  return {
    add: (row, diff) => {
      const value = row[index] ?? null
      if (typeof value !== 'number' && typeof value !== 'bigint') return
      const term = isFloat && typeof value === 'number' ? unitsOf(value) : value
      count += diff
      sum.add(term, diff)
      if (hasSquares) squares.addSquare(term, diff)
    },
    read: (op) => {
      if (count === 0) return null
      if (op === 'sum') return total()
      return inRange(op === 'avg' ? mean() : spread(), 'float')
    },
    held: () => 0,
    dump: () => [count, String(sum.value), String(squares.value)],
    load: (state) => {
      const [counted, summed, squared] = listOfState(state)
      count = Number(counted)
      sum = ExactSum.of(BigInt(String(summed)))
      squares = ExactSum.of(BigInt(String(squared)))
    },
  }
}

const PERCENT: Partial<Record<Aggregate['op'], number>> = { median: 50, p50: 50, p95: 95, p99: 99 }

/** The values in order, or the bounds of their buckets. */
function sorted(index: number, type: ColumnType, keep: (value: Value) => Value): Accumulator {
  const bag = new SortedBag<Value>({ compare: compareValues, rank: rankOf })
  return {
    add: (row, diff) => {
      const value = row[index] ?? null
      if (value !== null) bag.add(keep(value), diff)
    },
    read: (op) => {
      if (op === 'min') return bag.first() ?? null
      if (op === 'max') return bag.last() ?? null
      // The first value that so many percent of the rows do not exceed, in whole numbers.
      const hundredths = bag.total * (PERCENT[op] ?? 50)
      const rest = hundredths % 100
      return bag.atRank((hundredths - rest) / 100 + (rest > 0 ? 1 : 0)) ?? null
    },
    held: () => bag.size,
    dump: () => {
      const entries: State[] = []
      bag.each((value, count) => entries.push([keyOfRow([value]), count]) > 0)
      return entries
    },
    load: (state) => {
      for (const entry of listOfState(state)) {
        const [key, count] = listOfState(entry)
        bag.add(rowOfKey(String(key), [type])[0] ?? null, Number(count))
      }
    },
  }
}
