// Rewriting parts of plans so that they mean the same in another place.
import type { Condition, Expression, Plan } from '../../protocol/plan.ts'
import { inputsOf, typeOf } from '../../protocol/plan-columns.ts'
import type { Columns } from '../../protocol/relations.ts'

/** A condition as a list of those that all must hold. */
export function conjuncts(condition: Condition): Condition[] {
  return condition.op === 'and' ? condition.of.flatMap(conjuncts) : [condition]
}

/** The condition over the columns that go by these names now. */
export function renamed(of: Condition, columnOf: ReadonlyMap<string, string>): Condition {
  const name = (expression: Expression): Expression => renamedExpression(expression, columnOf)
  switch (of.op) {
    case 'and':
    case 'or':
      return { op: of.op, of: of.of.map((part) => renamed(part, columnOf)) }
    case 'not':
      return { op: of.op, of: renamed(of.of, columnOf) }
    case 'shard':
      return { ...of, by: of.by.map(name) }
    case 'in':
    case 'is null':
      return { ...of, of: name(of.of) }
    default:
      return { op: of.op, left: name(of.left), right: name(of.right) }
  }
}

function renamedExpression(of: Expression, columnOf: ReadonlyMap<string, string>): Expression {
  switch (of.op) {
    case 'column':
      return { op: of.op, name: columnOf.get(of.name) ?? of.name }
    case 'literal':
      return of
    case 'negate':
    case 'truncate':
    case 'bucket':
      return { ...of, of: renamedExpression(of.of, columnOf) }
    default:
      return {
        op: of.op,
        left: renamedExpression(of.left, columnOf),
        right: renamedExpression(of.right, columnOf),
      }
  }
}

/**
 * A choice of shards over what these columns are computed from, so that it gets to the tables: where they are beginnings of
 * times, which never fail. Other conditions stay as they are.
 */
export function uncomputed(condition: Condition, computed: ReadonlyMap<string, Expression>): Condition {
  if (condition.op !== 'shard') return condition
  const by = condition.by.map((part) => {
    const of = part.op === 'column' ? computed.get(part.name) : undefined
    return of?.op === 'truncate' && of.of.op === 'column' ? of : part
  })
  return { ...condition, by }
}

/** A float has another text there. */
export function isTheSameInSql(condition: Condition, columns: Columns): boolean {
  return condition.op !== 'shard' || condition.by.every((part) => typeOf(part, columns) !== 'float')
}

/**
 * A recursion's step that keeps every derivation of a row: in a set, one could take another's place unseen. The
 * recursion makes a set of them all.
 */
export function loosened(plan: Plan, self: string): Plan {
  const reads = (one: Plan): boolean =>
    (one.op === 'self' && one.name === self) || inputsOf(one).some(([, input]) => reads(input))
  if (!reads(plan)) return plan
  const inner = (one: Plan): Plan => loosened(one, self)
  switch (plan.op) {
    case 'union':
    case 'unionAll':
      return { op: 'unionAll', inputs: plan.inputs.map(inner) }
    case 'distinct':
      return inner(plan.input)
    case 'where':
    case 'map':
    case 'project':
      return { ...plan, input: inner(plan.input) }
    case 'join':
      return { ...plan, left: inner(plan.left), right: inner(plan.right) }
    default:
      return plan
  }
}
