// Parses the conditions and expressions of a plan, and gives each constant its type.
import { MAX_LITERAL_CHARS, MAX_PLAN_DEPTH } from './limits.ts'
import { ARITHMETIC, COMPARISONS, TIME_UNITS, type Condition, type Expression, type Literal } from './plan.ts'
import { commonType, PlanFault, typeOf, typeOfLiteral } from './plan-columns.ts'
import { fieldsOf, listOf, oneOf, textOf } from './plan-fields.ts'
import { COLUMN_TYPES, parseValue, type Columns, type ColumnType } from './relations.ts'

export interface Scope {
  columns: Columns
  counts: { literals: number }
}

type Loose = Exclude<Expression, { op: 'literal' }> | { op: 'literal'; value: Literal; type?: ColumnType }

export function parseCondition(value: unknown, scope: Scope, depth = 1): Condition {
  if (depth > MAX_PLAN_DEPTH) throw new PlanFault(`a condition is at most ${MAX_PLAN_DEPTH} deep`)
  const fields = fieldsOf(value)
  const op = oneOf(
    [...COMPARISONS, 'in', 'is null', 'and', 'or', 'not'] as const,
    fields.get('op'),
    'op of a condition',
  )
  switch (op) {
    case 'and':
    case 'or': {
      checkFields(fields, ['of'])
      const of = listOf(fields.get('of'), 'of').map((part) => parseCondition(part, scope, depth + 1))
      if (of.length === 0) throw new PlanFault(`${op} needs a condition`)
      return { op, of }
    }
    case 'not':
      checkFields(fields, ['of'])
      return { op, of: parseCondition(fields.get('of'), scope, depth + 1) }
    case 'is null':
      checkFields(fields, ['of'])
      return { op, of: parseExpression(fields.get('of'), scope) }
    case 'in': {
      checkFields(fields, ['of', 'values', 'type'])
      const of = parseExpression(fields.get('of'), scope)
      const type = typeOf(of, scope.columns)
      const values = listOf(fields.get('values'), 'values')
      scope.counts.literals += values.length
      return { op, of, type, values: values.map((one) => literalOf(one, type)) }
    }
    default: {
      checkFields(fields, ['left', 'right'])
      const pair = { left: fields.get('left'), right: fields.get('right') }
      const [left, right] = parsePair(pair, scope, { depth: 1, besideTime: 'time' })
      const [leftType, rightType] = [typeOf(left, scope.columns), typeOf(right, scope.columns)]
      if (commonType(leftType, rightType) !== null) return { op, left, right }
      throw new PlanFault(`${leftType} ${op} ${rightType} does not compare`)
    }
  }
}

/** An expression all of whose constants have their type. */
export function parseExpression(value: unknown, scope: Scope): Expression {
  const parsed = parseLoose(value, scope, 1)
  return parsed.op === 'literal' ? typed(parsed, null) : parsed
}

/** Like parseExpression, but a constant at the top waits for what stands beside it. */
function parseLoose(value: unknown, scope: Scope, depth: number): Loose {
  if (depth > MAX_PLAN_DEPTH) throw new PlanFault(`an expression is at most ${MAX_PLAN_DEPTH} deep`)
  const fields = fieldsOf(value)
  const op = oneOf(
    [...ARITHMETIC, 'column', 'literal', 'negate', 'truncate'] as const,
    fields.get('op'),
    'op of an expression',
  )
  switch (op) {
    case 'column': {
      checkFields(fields, ['name'])
      const column = { op, name: textOf(fields.get('name'), 'name') }
      typeOf(column, scope.columns)
      return column
    }
    case 'literal': {
      checkFields(fields, ['value', 'type'])
      scope.counts.literals++
      const type = fields.get('type')
      if (type === undefined) return { op, value: plainOf(fields.get('value')) }
      return typed({ op, value: plainOf(fields.get('value')), type: oneOf(COLUMN_TYPES, type, 'type') }, null)
    }
    case 'negate': {
      checkFields(fields, ['of'])
      const of = parseLoose(fields.get('of'), scope, depth + 1)
      return checked({ op, of: of.op === 'literal' ? typed(of, null) : of }, scope)
    }
    case 'truncate': {
      checkFields(fields, ['to', 'of'])
      const of = parseLoose(fields.get('of'), scope, depth + 1)
      const to = oneOf(TIME_UNITS, fields.get('to'), 'to')
      return checked({ op, to, of: of.op === 'literal' ? typed(of, 'time') : of }, scope)
    }
    default: {
      checkFields(fields, ['left', 'right'])
      const pair = { left: fields.get('left'), right: fields.get('right') }
      const [left, right] = parsePair(pair, scope, { depth: depth + 1, besideTime: 'int' })
      return checked({ op, left, right }, scope)
    }
  }
}

/** Two that stand side by side: a constant without a type takes the other's. A time is compared with a time, but moved by an int. */
function parsePair(
  { left, right }: { left: unknown; right: unknown },
  scope: Scope,
  { depth, besideTime }: { depth: number; besideTime: ColumnType },
): [Expression, Expression] {
  const [a, b] = [parseLoose(left, scope, depth), parseLoose(right, scope, depth)]
  const typeBeside = (other: Loose): ColumnType | null => {
    const type = other.op === 'literal' ? (other.type ?? typeOfLiteral(other.value)) : typeOf(other, scope.columns)
    return type === 'time' ? besideTime : type
  }
  return [a.op === 'literal' ? typed(a, typeBeside(b)) : a, b.op === 'literal' ? typed(b, typeBeside(a)) : b]
}

function checked<E extends Expression>(expression: E, scope: Scope): E {
  typeOf(expression, scope.columns)
  return expression
}

/** Its own type where it has one; else the one beside it, if the value has a form in it; else the one that it suggests. */
function typed(literal: Extract<Loose, { op: 'literal' }>, beside: ColumnType | null): Expression {
  const { op, value } = literal
  const fits = beside !== null && parseValue(beside, value) !== undefined
  const type = literal.type ?? (fits ? beside : typeOfLiteral(value))
  if (type === null) throw new PlanFault('a null needs a type here')
  return { op, value: literalOf(value, type), type }
}

function literalOf(value: unknown, type: ColumnType): Literal {
  const parsed = parseValue(type, plainOf(value))
  if (parsed === undefined) throw new PlanFault(`${JSON.stringify(value)?.slice(0, 80)} is not of type ${type}`)
  return typeof parsed === 'bigint' ? String(parsed) : parsed
}

function plainOf(value: unknown): Literal {
  if (typeof value === 'string' && value.length > MAX_LITERAL_CHARS) {
    throw new PlanFault(`a constant has at most ${MAX_LITERAL_CHARS} characters`)
  }
  if (value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean')
    return value
  throw new PlanFault('a constant is a text, a number, true, false or null')
}

function checkFields(fields: ReadonlyMap<string, unknown>, allowed: readonly string[]): void {
  const stray = [...fields.keys()].find((field) => field !== 'op' && !allowed.includes(field))
  if (stray !== undefined) throw new PlanFault(`${JSON.stringify(stray.slice(0, 80))} is not a field of this condition`)
}
