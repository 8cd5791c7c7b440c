// Aggregates for the builder of plans: what `aggregate({ … })` takes.
import { Test } from './condition.ts'
import type { Aggregate } from './plan.ts'

type ColumnOp = Exclude<Aggregate['op'], 'rate' | 'count'>

/** One that is computed over columns C. */
export type Aggregation<C extends string> =
  | { op: 'count'; column?: C }
  | { op: ColumnOp; column: C }
  | { op: 'rate'; where: Test<C>; among?: Test<C> }

/** The value that it has over rows R. */
export type AggregateOf<A, R> = A extends { op: 'count' }
  ? number
  : A extends { op: 'sum' | 'min' | 'max' | 'median'; column: keyof R & (infer C) }
    ? R[C & keyof R] | null
    : number | null

export function toAggregate(of: Aggregation<string>): Aggregate {
  if (of.op !== 'rate') return of
  return { op: 'rate', where: of.where.condition, ...(of.among === undefined ? {} : { among: of.among.condition }) }
}

/** Rows; of a column, those where it is not null. */
export const count = <C extends string = never>(column?: C): { op: 'count'; column?: C } =>
  column === undefined ? { op: 'count' } : { op: 'count', column }

const of =
  <const O extends ColumnOp>(op: O) =>
  <C extends string>(column: C): { op: O; column: C } => ({ op, column })

export const sum = /* @__PURE__ */ of('sum')
export const avg = /* @__PURE__ */ of('avg')
export const variance = /* @__PURE__ */ of('variance')
export const min = /* @__PURE__ */ of('min')
export const max = /* @__PURE__ */ of('max')
export const median = /* @__PURE__ */ of('median')
export const p50 = /* @__PURE__ */ of('p50')
export const p95 = /* @__PURE__ */ of('p95')
export const p99 = /* @__PURE__ */ of('p99')

/** The share of the rows fitting `among` (default: all) that fit `where`. */
export const rate = <C extends string>(
  where: Test<C>,
  among?: Test<C>,
): { op: 'rate'; where: Test<C>; among?: Test<C> } =>
  among === undefined ? { op: 'rate', where } : { op: 'rate', where, among }

/** The share of the ended jobs that failed. */
export const failureRate = (): { op: 'rate'; where: Test<'state'>; among: Test<'finished_at' | 'state'> } => ({
  op: 'rate',
  where: new Test({ op: '=', left: { op: 'column', name: 'state' }, right: { op: 'literal', value: 'failed' } }),
  among: new Test({ op: 'not', of: { op: 'is null', of: { op: 'column', name: 'finished_at' } } }),
})
