// Expressions for the builder of plans: columns, constants, and what is computed of them.
import type { Arithmetic, Expression, Literal, TimeUnit } from './plan.ts'

/** An expression over columns C, with a value of type T. */
export class Computed<out C extends string, out T> {
  readonly expression: Expression
  declare readonly columns: C
  declare readonly value: T

  constructor(expression: Expression) {
    this.expression = expression
  }
}

/** What a column of R can be compared with: a constant of its type, or a column or expression over R. */
export type Operand<R, T> = T | Computed<keyof R & string, unknown>
/** A column by its name, a number, or an expression. */
type Term<C extends string> = C | number | bigint | Computed<C, unknown>

export function toExpression(of: unknown): Expression {
  return of instanceof Computed ? of.expression : { op: 'literal', value: toLiteral(of) }
}

/** A bigint travels as its digits. */
export function toLiteral(value: unknown): Literal {
  return (typeof value === 'bigint' ? String(value) : value) as Literal // the types of the builder's methods let nothing else in
}

const term = (of: unknown): Expression => (typeof of === 'string' ? { op: 'column', name: of } : toExpression(of))

export function column<C extends string>(name: C): Computed<C, unknown> {
  return new Computed({ op: 'column', name })
}

export function literal<const T extends string | number | boolean>(value: T): Computed<never, T> {
  return new Computed({ op: 'literal', value })
}

const arithmetic =
  (op: Arithmetic) =>
  <C extends string>(left: Term<C>, right: Term<C>): Computed<C, number | null> =>
    new Computed({ op, left: term(left), right: term(right) })

export const plus = /* @__PURE__ */ arithmetic('+')
export const minus = /* @__PURE__ */ arithmetic('-')
export const times = /* @__PURE__ */ arithmetic('*')
export const dividedBy = /* @__PURE__ */ arithmetic('/')
export const modulo = /* @__PURE__ */ arithmetic('%')

export function negate<C extends string>(of: Term<C>): Computed<C, number | null> {
  return new Computed({ op: 'negate', of: term(of) })
}

/** Down to the beginning of the minute, hour, day or week (from Monday), in UTC. */
export function truncate<C extends string>(of: C | Computed<C, unknown>, to: TimeUnit): Computed<C, number | null> {
  return new Computed({ op: 'truncate', to, of: term(of) })
}
