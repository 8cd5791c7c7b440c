// Expressions, conditions and aggregates of a plan in SQL, with the kernel's results to the last digit.
import type { SqlScalar } from '../db/sql.ts'
import type { Aggregate, Condition, Expression, Literal, PartialAggregate } from '../protocol/plan.ts'
import { columnType, typeOf } from '../protocol/plan-columns.ts'
import type { Columns, ColumnType } from '../protocol/relations.ts'
import { UNIT_MS } from './kernel/evaluate.ts'
import { BETWEEN, boundsOf, HASHES, NULL_TEXT } from './kernel/shard-hash.ts'

/** How a column's type is called. A time is its milliseconds. */
export const TYPES: Record<ColumnType, string> = {
  text: 'text',
  bool: 'bool',
  int: 'int8',
  int64: 'int8',
  float: 'float8',
  time: 'int8',
}

export interface Parameters {
  columns: Columns
  /** A place for a value, with its type. */
  param: (value: SqlScalar, type: ColumnType) => string
}

/** Names of a plan hold letters, digits and "_" alone. */
export const name = (column: string): string => `"${column}"`

/** Text is ordered by code points wherever it comes from. */
function literalSql(value: Literal, type: ColumnType, { param }: Parameters): string {
  const place = param(value, type)
  return type === 'text' ? `(${place} collate "C")` : place
}

export function expressionSql(of: Expression, parameters: Parameters): string {
  switch (of.op) {
    case 'column':
      return name(of.name)
    case 'literal':
      return literalSql(of.value, typeOf(of, parameters.columns), parameters)
    case 'negate':
      return `(- ${expressionSql(of.of, parameters)})`
    case 'truncate': {
      const time = expressionSql(of.of, parameters)
      const { lengthMs, beginsMs } = UNIT_MS[of.to]
      return `(${time} - (((${time} - ${beginsMs}) % ${lengthMs}) + ${lengthMs}) % ${lengthMs})`
    }
    case 'bucket':
      return bucketSql(expressionSql(of.of, parameters))
    default:
      return `(${expressionSql(of.left, parameters)} ${of.op} ${expressionSql(of.right, parameters)})`
  }
}

export function conditionSql(of: Condition, parameters: Parameters): string {
  switch (of.op) {
    case 'and':
    case 'or':
      return `(${of.of.map((part) => conditionSql(part, parameters)).join(` ${of.op} `)})`
    case 'not':
      return `(not ${conditionSql(of.of, parameters)})`
    case 'is null':
      return `(${expressionSql(of.of, parameters)} is null)`
    case 'shard':
      return shardSql(of, parameters)
    case 'in': {
      const type = of.type ?? typeOf(of.of, parameters.columns)
      const values = of.values.map((value) => literalSql(value, type, parameters))
      return values.length === 0 ? 'false' : `(${expressionSql(of.of, parameters)} in (${values.join(', ')}))`
    }
    default:
      return `(${expressionSql(of.left, parameters)} ${of.op} ${expressionSql(of.right, parameters)})`
  }
}

/** As `isInShard` has it. Digits of one length are ordered as what they stand for. */
function shardSql(of: Extract<Condition, { op: 'shard' }>, parameters: Parameters): string {
  const texts = of.by.map((part) => `coalesce((${expressionSql(part, parameters)})::text, '${NULL_TEXT}')`)
  const hash = `(substr(md5(${texts.join(` || '${BETWEEN}' || `)}), 1, 8) collate "C")`
  const { from, to } = boundsOf(of)
  const digits = (bound: number): string => literalSql(bound.toString(16).padStart(8, '0'), 'text', parameters)
  const below = to === HASHES ? '' : ` and ${hash} < ${digits(to)}`
  return `(${hash} >= ${digits(from)}${below})`
}

export function aggregateSql(of: Aggregate | PartialAggregate, parameters: Parameters): string {
  if (of.op === 'state' || of.op === 'merge') throw new TypeError(`${of.op} has no form in SQL`)
  if (of.op === 'rate') {
    const where = conditionSql(of.where, parameters)
    const among = of.among === undefined ? 'true' : conditionSql(of.among, parameters)
    return `(count(*) filter (where ${among} and ${where})::float8 / nullif(count(*) filter (where ${among}), 0))`
  }
  if (of.column === undefined) return 'count(*)::int8'
  const column = name(of.column)
  const type = columnType(parameters.columns, of.column)
  const count = `nullif(count(${column}), 0)`
  switch (of.op) {
    case 'count':
      return `count(${column})::int8`
    case 'sum':
      return `sum(${column})::${TYPES[type]}`
    case 'avg':
      // Of floats, the database adds rounded steps; it is exact where each of these is.
      if (type === 'float') return `(sum(${column}) / ${count})`
      return digits(`sum(${column})::numeric`, count)
    case 'variance': {
      const exact = `${column}::numeric`
      const dividend = `(count(${column}) * sum(${exact} * ${exact}) - sum(${exact}) * sum(${exact}))`
      return digits(dividend, `(${count} * ${count})`)
    }
    case 'min':
    case 'max':
      return `${of.op}(${column})`
    case 'median':
      return `percentile_disc(0.5) within group (order by ${column})`
    default:
      return `percentile_disc(0.${of.op.slice(1)}) within group (order by ${bucketSql(column)})`
  }
}

/** A quotient to so many digits that it is rounded once, when it becomes a float. */
function digits(dividend: string, divisor: string): string {
  return `(round(${dividend}, 60) / ${divisor})::float8`
}

/** The bound of `bucketBound`: the width of a bucket is a power of two, told by the count of binary digits. */
function bucketSql(column: string): string {
  const absolute = `abs(${column})`
  const width = `(1::int8 << greatest(length(ltrim(${absolute}::bit(64)::text, '0')) - 8, 0))`
  const least = `(${absolute} - ${absolute} % ${width})`
  return `(case when ${column} < 0 then - ${least} else ${least} + ${width} - 1 end)`
}
