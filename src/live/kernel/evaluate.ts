// Turns the expressions and conditions of a plan into functions of a row.
import type { Condition, Expression, TimeUnit } from '../../protocol/plan.ts'
import { commonType, typeOf } from '../../protocol/plan-columns.ts'
import { isInt64, parseValue, type Columns, type ColumnType, type Row, type Value } from '../../protocol/relations.ts'
import { bucketBound } from './buckets.ts'
import { isInShard } from './shard-hash.ts'
import { compareValues, indexOf } from './values.ts'

/** Why a query stops: its own fault, the same at every peer. */
export class QueryFault extends Error {}

export type Compute = (row: Row) => Value

export function computeOf(of: Expression, columns: Columns): Compute {
  switch (of.op) {
    case 'column': {
      const index = indexOf(columns, of.name)
      return (row) => row[index] ?? null
    }
    case 'literal': {
      const value = parseValue(typeOf(of, columns), of.value) ?? null
      return () => value
    }
    case 'negate': {
      const compute = computeOf(of.of, columns)
      const type = typeOf(of, columns)
      return (row) => {
        const value = compute(row)
        if (typeof value === 'bigint') return inRange(-value, type)
        return typeof value === 'number' ? 0 - value : null
      }
    }
    case 'truncate': {
      const compute = computeOf(of.of, columns)
      const { to } = of
      return (row) => {
        const value = compute(row)
        return typeof value === 'number' ? truncate(value, to) : null
      }
    }
    case 'bucket': {
      const compute = computeOf(of.of, columns)
      return (row) => {
        const value = compute(row)
        return typeof value === 'number' ? bucketBound(value) : null
      }
    }
    default: {
      const type = typeOf(of, columns)
      // Of a time, calculated as the number of its milliseconds.
      const inner = type === 'int64' ? 'int64' : type === 'float' ? 'float' : 'int'
      const left = castTo(inner, computeOf(of.left, columns), typeOf(of.left, columns))
      const right = castTo(inner, computeOf(of.right, columns), typeOf(of.right, columns))
      const { op } = of
      return (row) => {
        const [a, b] = [left(row), right(row)]
        if (typeof a === 'bigint' && typeof b === 'bigint') return inRange(big(op, a, b), type)
        if (typeof a === 'number' && typeof b === 'number') return inRange(small(op, a, b, inner), type)
        return null
      }
    }
  }
}

type Op = Exclude<Expression, { op: 'column' | 'literal' | 'negate' | 'truncate' | 'bucket' }>['op']

function castTo(type: ColumnType, compute: Compute, own: ColumnType): Compute {
  if (type !== 'int64' || own === 'int64') return compute
  return (row) => {
    const value = compute(row)
    return typeof value === 'number' ? BigInt(value) : value
  }
}

function big(op: Op, a: bigint, b: bigint): bigint {
  if (b === 0n && (op === '/' || op === '%')) throw new QueryFault('division by zero')
  if (op === '+') return a + b
  if (op === '-') return a - b
  if (op === '*') return a * b
  return op === '/' ? a / b : a % b
}

function small(op: Op, a: number, b: number, type: ColumnType): number {
  if (b === 0 && (op === '/' || op === '%')) throw new QueryFault('division by zero')
  if (op === '+') return a + b
  if (op === '-') return a - b
  if (op === '*') return a * b
  if (op === '%') return a % b
  // Taking the rest away first leaves a quotient that is exact.
  return type === 'float' ? a / b : (a - (a % b)) / b
}

/** The value, with one zero, if its type has it. */
export function inRange(value: number | bigint, type: ColumnType): number | bigint {
  if (typeof value === 'bigint') {
    if (isInt64(value)) return value
  } else if (type === 'float' ? Number.isFinite(value) : Number.isSafeInteger(value)) return value + 0
  throw new QueryFault(`a value is out of the range of ${type}`)
}

/** A week begins on Monday, and the epoch was a Thursday. */
export const UNIT_MS: Record<TimeUnit, { lengthMs: number; beginsMs: number }> = {
  minute: { lengthMs: 60_000, beginsMs: 0 },
  hour: { lengthMs: 3_600_000, beginsMs: 0 },
  day: { lengthMs: 86_400_000, beginsMs: 0 },
  week: { lengthMs: 604_800_000, beginsMs: 345_600_000 },
}

function truncate(timeMs: number, to: TimeUnit): number {
  const { lengthMs, beginsMs } = UNIT_MS[to]
  const past = (timeMs - beginsMs) % lengthMs
  return timeMs - (past < 0 ? past + lengthMs : past)
}

/** True, false, or null for unknown. */
export type Check = (row: Row) => boolean | null

export function checkOf(of: Condition, columns: Columns): Check {
  switch (of.op) {
    case 'and': {
      const checks = of.of.map((part) => checkOf(part, columns))
      return (row) => decide(checks, row, false)
    }
    case 'or': {
      const checks = of.of.map((part) => checkOf(part, columns))
      return (row) => decide(checks, row, true)
    }
    case 'not': {
      const check = checkOf(of.of, columns)
      return (row) => {
        const is = check(row)
        return is === null ? null : !is
      }
    }
    case 'is null': {
      const compute = computeOf(of.of, columns)
      return (row) => compute(row) === null
    }
    case 'shard':
      return isInShard(
        of.by.map((part) => computeOf(part, columns)),
        of,
      )
    case 'in': {
      const compute = computeOf(of.of, columns)
      const type = of.type ?? typeOf(of.of, columns)
      const values = new Set(of.values.map((value) => parseValue(type, value) ?? null))
      const orUnknown = values.has(null) ? null : false
      return (row) => {
        const value = compute(row)
        if (value === null) return values.size === 0 ? false : null
        return values.has(value) || orUnknown
      }
    }
    default: {
      const types = [typeOf(of.left, columns), typeOf(of.right, columns)] as const
      const type = commonType(...types) ?? types[0]
      const left = castTo(type, computeOf(of.left, columns), types[0])
      const right = castTo(type, computeOf(of.right, columns), types[1])
      const holds = HOLDS[of.op]
      return (row) => {
        const [a, b] = [left(row), right(row)]
        return a === null || b === null ? null : holds(a === b ? 0 : compareValues(a, b))
      }
    }
  }
}

const HOLDS: Record<'=' | '!=' | '<' | '<=' | '>' | '>=', (order: number) => boolean> = {
  '=': (order) => order === 0,
  '!=': (order) => order !== 0,
  '<': (order) => order < 0,
  '<=': (order) => order <= 0,
  '>': (order) => order > 0,
  '>=': (order) => order >= 0,
}

/** The value that decides, if one check has it; else unknown, if one is; else the other value. */
function decide(checks: readonly Check[], row: Row, decides: boolean): boolean | null {
  let is: boolean | null = !decides
  for (const check of checks) {
    const one = check(row)
    if (one === decides) return decides
    if (one === null) is = null
  }
  return is
}
