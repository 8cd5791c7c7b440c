// What a group remembers of its rows. Each takes a row back exactly as it took it in.
import type { Aggregate, PartialAggregate } from '../../protocol/plan.ts'
import { columnType } from '../../protocol/plan-columns.ts'
import type { Columns, ColumnType, Row, Value } from '../../protocol/relations.ts'
import { bucketBound } from './buckets.ts'
import { aboutBytes, ACCUMULATOR, sortedValueBytes } from './bytes.ts'
import { checkOf, inRange, QueryFault, type Check } from './evaluate.ts'
import { ExactSum, ofUnits, quotient, unitsOf } from './exact.ts'
import { listOfState, type State } from './operator.ts'
import { SortedBag } from './sorted-bag.ts'
import { compareValues, indexOf, keyOfRow, rankOf, rowOfKey } from './values.ts'

export interface Accumulator {
  add: (row: Row, diff: number) => void
  read: (op: Read) => Value
  held: () => number
  /** About how much memory it takes. */
  bytes: () => number
  dump: () => State
  /** So many times, or back, what another has dumped. Of one that holds nothing, once makes the other. */
  absorb: (state: State, times: number) => void
}

type Read = (Aggregate | PartialAggregate)['op']
type Merge = Extract<PartialAggregate, { op: 'merge' }>

/** Aggregates of the same kind over the same column share one; `key` tells which. */
export interface AccumulatorKind {
  key: string
  make: () => Accumulator
}

export function accumulatorFor(of: Aggregate | PartialAggregate, columns: Columns): AccumulatorKind {
  if (of.op === 'state') {
    const { key, make } = accumulatorFor(of.of, columns)
    return { key: `state ${key}`, make: () => stateOf(make()) }
  }
  if (of.op === 'merge') return { key: JSON.stringify(of), make: merging(of, columns) }
  if (of.op === 'rate') {
    const where = checkOf(of.where, columns)
    const among = of.among === undefined ? ALL : checkOf(of.among, columns)
    return { key: JSON.stringify(of), make: () => share(where, among) }
  }
  const { column } = of
  if (column === undefined) return { key: 'count', make: () => counter(ALL) }
  const [index, type] = [indexOf(columns, column), columnType(columns, column)]
  if (of.op === 'count') return { key: `count ${column}`, make: () => counter((row) => (row[index] ?? null) !== null) }
  return { key: `${KIND[of.op]} ${column}`, make: () => ofColumn(of.op, index, type) }
}

const KIND: Record<Exclude<Aggregate['op'], 'count' | 'rate'>, 'moments' | 'squares' | 'sorted' | 'buckets'> = {
  sum: 'moments',
  avg: 'moments',
  variance: 'squares',
  min: 'sorted',
  max: 'sorted',
  median: 'sorted',
  p50: 'buckets',
  p95: 'buckets',
  p99: 'buckets',
}

function ofColumn(op: keyof typeof KIND, index: number, type: ColumnType): Accumulator {
  const kind = KIND[op]
  if (kind === 'sorted') return sorted(index, type, (value) => value)
  if (kind === 'buckets') return sorted(index, type, (value) => (typeof value === 'number' ? bucketBound(value) : null))
  return moments(index, type, { hasSquares: kind === 'squares' })
}

function stateOf(accumulator: Accumulator): Accumulator {
  return { ...accumulator, read: () => JSON.stringify(accumulator.dump()) }
}

const ALL: Check = () => true

/** Takes in what others have dumped, or values as often as a column says. */
function merging({ of, type, column, times }: Merge, columns: Columns): () => Accumulator {
  const [index, timesAt] = [indexOf(columns, column), times === undefined ? -1 : indexOf(columns, times)]
  return () => {
    const inner = of === 'count' ? counter(ALL) : of === 'rate' ? share(ALL, ALL) : ofColumn(of, index, type)
    const add = (row: Row, diff: number): void => {
      if (times === undefined) inner.absorb(JSON.parse(String(row[index])) as State, diff) // as dumped by its like
      else inner.add(row, diff * Number(row[timesAt]))
    }
    return { ...inner, add, read: () => inner.read(of) }
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
    bytes: () => ACCUMULATOR,
    dump: () => count,
    absorb: (state, times) => void (count += Number(state) * times),
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
    bytes: () => ACCUMULATOR,
    dump: () => [all, fitting],
    absorb: (state, times) => {
      const [counted = 0, fitted = 0] = listOfState(state).map(Number)
      all += counted * times
      fitting += fitted * times
    },
  }
}

/** Count, sum and sum of squares: of a float in units of the smallest one. */
function moments(index: number, type: ColumnType, { hasSquares }: { hasSquares: boolean }): Accumulator {
  let count = 0
  const [sum, squares] = [new ExactSum(), new ExactSum()]
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
    bytes: () => ACCUMULATOR,
    dump: () => [count, String(sum.value), String(squares.value)],
    absorb: (state, times) => {
      const [counted, summed, squared] = listOfState(state)
      count += Number(counted) * times
      sum.add(BigInt(String(summed)), times)
      squares.add(BigInt(String(squared)), times)
    },
  }
}

const PERCENT: Partial<Record<Read, number>> = { median: 50, p50: 50, p95: 95, p99: 99 }

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
    bytes: () => ACCUMULATOR + aboutBytes(bag, bag.size, sortedValueBytes),
    dump: () => {
      const entries: State[] = []
      bag.each((value, count) => entries.push([keyOfRow([value]), count]) > 0)
      return entries
    },
    absorb: (state, times) => {
      for (const entry of listOfState(state)) {
        const [key, count] = listOfState(entry)
        bag.add(rowOfKey(String(key), [type])[0] ?? null, Number(count) * times)
      }
    },
  }
}
