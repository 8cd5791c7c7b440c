// Conditions for the builder of plans.
import { toExpression, toLiteral } from './expression.ts'
import type { Comparison, Condition, Literal } from './plan.ts'
import type { Operand } from './expression.ts'

/** Columns and what they must equal: a value, one of several, or null. */
export type Short<R> = { [K in keyof R]?: R[K] | readonly NonNullable<R[K]>[] | null }

/** A condition over columns C. */
export class Test<out C extends string> {
  readonly condition: Condition
  declare readonly columns: C

  constructor(condition: Condition) {
    this.condition = condition
  }
}

export function compare(column: string, is: Comparison, value: unknown): Condition {
  return { op: is, left: { op: 'column', name: column }, right: toExpression(value) }
}

export function shortForm(short: object): Condition {
  const of = Object.entries(short).map(([name, value]: [string, unknown]): Condition => {
    if (value === null) return { op: 'is null', of: { op: 'column', name } }
    if (!Array.isArray(value)) return compare(name, '=', value)
    return { op: 'in', of: { op: 'column', name }, values: value.map(toLiteral) }
  })
  const [first] = of
  return first !== undefined && of.length === 1 ? first : { op: 'and', of }
}

/** `is('run_ms', '>', 1_000)`, for and, or and not. */
export function is<C extends string, D extends string = never>(
  column: C,
  op: Comparison,
  value: Operand<Record<D, unknown>, Literal | bigint>,
): Test<C | D> {
  return new Test(compare(column, op, value))
}

export function isNull<C extends string>(column: C): Test<C> {
  return new Test({ op: 'is null', of: { op: 'column', name: column } })
}

export function and<C extends string>(...of: Test<C>[]): Test<C> {
  return new Test({ op: 'and', of: of.map(({ condition }) => condition) })
}

export function or<C extends string>(...of: Test<C>[]): Test<C> {
  return new Test({ op: 'or', of: of.map(({ condition }) => condition) })
}

export function not<C extends string>(of: Test<C>): Test<C> {
  return new Test({ op: 'not', of: of.condition })
}
