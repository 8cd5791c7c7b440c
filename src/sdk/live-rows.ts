// Rows as a watch shows them: what JSON cannot hold as it was declared, and the order that the plan asks for.
import { declaredColumns } from '../protocol/declared-columns.ts'
import type { WireRow } from '../protocol/live.ts'
import type { Direction, Expression, Plan } from '../protocol/plan.ts'

export interface Shown {
  row(row: WireRow): object
  /** A list of its own, or the very same. */
  rows(rows: readonly WireRow[]): readonly object[]
}

/** Rows of a plan that is known here; of any other, they stay as they came. */
export function shownBy(plan: Plan | undefined): Shown {
  const int64 = plan === undefined ? new Set<string>() : int64Columns(plan)
  const order = <R extends object>(rows: readonly R[]) =>
    plan?.op === 'top' ? rows.toSorted((a, b) => compareRows(a, b, plan.orderBy)) : rows
  if (int64.size === 0) return { row: (row) => row, rows: order }
  const row = (row: WireRow): object => {
    const values = Object.entries(row).map(([name, value]) => [name, int64.has(name) ? toInt64(value) : value])
    return Object.fromEntries(values) as object // its values are of no matter here
  }
  return { row, rows: (rows) => order(rows.map(row)) }
}

const toInt64 = (value: WireRow[string] | undefined) =>
  typeof value === 'string' && /^-?\d+$/.test(value) ? BigInt(value) : value

type Names = ReadonlySet<string>

/** The columns that hold an int64. What is one comes from relations of one's own, and from constants. */
function int64Columns(plan: Plan): Names {
  switch (plan.op) {
    case 'from': {
      const declared = Object.entries(declaredColumns(plan))
      return new Set(declared.flatMap(([name, type]) => (type === 'int64' ? [name] : [])))
    }
    case 'self': // Inside a step, which has the columns of its base.
      return new Set()
    case 'union':
    case 'unionAll':
      return plan.inputs[0] === undefined ? new Set() : int64Columns(plan.inputs[0])
    case 'recurse':
      return int64Columns(plan.base)
    case 'join': {
      const left = int64Columns(plan.left)
      if (plan.kind === 'anti') return left
      const compared = new Set(plan.on.map(([, name]) => name))
      const right = [...int64Columns(plan.right)].filter((name) => !compared.has(name))
      return new Set([...left, ...right.map((name) => `${plan.prefix ?? ''}${name}`)])
    }
    default: {
      const input = int64Columns(plan.input)
      if (plan.op === 'map') return added(input, plan.columns, (of) => isInt64(of, input))
      if (plan.op === 'project') return added([], plan.columns, (name) => input.has(name))
      if (plan.op !== 'groupBy') return input
      const by = plan.by.filter((name) => input.has(name))
      return added(by, plan.aggregates, (of) => KEEPS_TYPE.has(of.op) && 'column' in of && input.has(of.column ?? ''))
    }
  }
}

const KEEPS_TYPE: ReadonlySet<string> = new Set(['sum', 'min', 'max', 'median'])

function added<T>(names: Iterable<string>, columns: readonly [string, T][], isOne: (of: T) => boolean): Names {
  return new Set([...names, ...columns.flatMap(([name, of]) => (isOne(of) ? [name] : []))])
}

/** A calculation with one is one. */
function isInt64(of: Expression, columns: Names): boolean {
  if (of.op === 'column') return columns.has(of.name)
  if (of.op === 'literal') return of.type === 'int64'
  return 'of' in of ? isInt64(of.of, columns) : isInt64(of.left, columns) || isInt64(of.right, columns)
}

type Fields = Readonly<Record<string, string | number | bigint | boolean | null>>

/** Rows that tie are ordered by all their columns. */
function compareRows(a: object, b: object, orderBy: readonly (readonly [string, Direction])[]): number {
  const [left, right] = [a as Fields, b as Fields] // a wire row, its int64 as bigints
  const all = Object.keys(a).map((name) => [name, 'asc'] as const)
  for (const [name, direction] of [...orderBy, ...all]) {
    const order = compareValues(left[name] ?? null, right[name] ?? null)
    if (order !== 0) return direction === 'asc' ? order : -order
  }
  return 0
}

/** Nulls come last. */
function compareValues(a: Fields[string], b: Fields[string]): number {
  if (a === b) return 0
  if (a === null || b === null) return a === null ? 1 : -1
  return a < b ? -1 : 1
}
