// Groups whose rows are in several pieces: what each piece says of a group, and how that adds up.
import type { Aggregate, Expression, PartialAggregate, Plan } from '../protocol/plan.ts'
import { columnType } from '../protocol/plan-columns.ts'
import type { Columns } from '../protocol/relations.ts'

type GroupBy = Extract<Plan, { op: 'groupBy' }>
type Any = Aggregate | PartialAggregate

/** The name of a column between the pieces and the whole: no client's has it. */
const between = (n: number): string => `#${n}`
const TIMES = '#times'

/**
 * Least and greatest are those of the pieces. Of a median or a percentile, a piece gives the values, or the bounds of their
 * buckets, with how often each is there, in groups of their own. All else adds up from what aggregates remember, so that the
 * result is that of one peer to the last digit.
 */
export function partialGroupBy(
  plan: GroupBy,
  columns: Columns,
): { partial: (input: Plan) => Plan; merged: (input: Plan) => Plan } {
  const values: [name: string, of: Expression][] = []
  const partial: [name: string, of: Any][] = []
  const merged = plan.aggregates.map(([name, of], n): [string, Any] => {
    const own = between(n)
    if (of.op === 'state' || of.op === 'merge') return [name, of]
    const type = 'column' in of && of.column !== undefined ? columnType(columns, of.column) : 'int'
    switch (of.op) {
      case 'min':
      case 'max':
        partial.push([own, of])
        return [name, { op: of.op, column: own }]
      case 'median':
      case 'p50':
      case 'p95':
      case 'p99': {
        const column: Expression = { op: 'column', name: of.column }
        values.push([own, of.op === 'median' ? column : { op: 'bucket', of: column }])
        return [name, { op: 'merge', of: of.op, type, column: own, times: TIMES }]
      }
      default:
        partial.push([own, { op: 'state', of }])
        return [name, { op: 'merge', of: of.op, type, column: own }]
    }
  })
  const by = [...plan.by, ...values.map(([name]) => name)]
  const aggregates: GroupBy['aggregates'] = values.length === 0 ? partial : [...partial, [TIMES, { op: 'count' }]]
  return {
    partial: (input) => {
      const valued: Plan = values.length === 0 ? input : { op: 'map', input, columns: values }
      return { op: 'groupBy', input: valued, by, aggregates }
    },
    merged: (input) => ({ op: 'groupBy', input, by: plan.by, aggregates: merged }),
  }
}
