// Which columns a step gives, and which type an expression has: the rules that the parser checks and the kernel builds on.
import type { Aggregate, Condition, Expression, Literal, PartialAggregate, Plan } from './plan.ts'
import type { Columns, ColumnType } from './relations.ts'

/** Thrown by the rules below; the parser adds where in the plan it is. */
export class PlanFault extends Error {}

export function columnType(columns: Columns, name: string): ColumnType {
  const type = columns.get(name)
  if (type !== undefined) return type
  const known = [...columns.keys()].join(', ')
  throw new PlanFault(`no column ${JSON.stringify(name.slice(0, 80))}; there are ${known.slice(0, 500)}`)
}

/** The type that the JSON of a constant suggests where nothing else tells; null for null. */
export function typeOfLiteral(value: Literal): ColumnType | null {
  if (value === null) return null
  if (typeof value === 'string') return 'text'
  if (typeof value === 'boolean') return 'bool'
  return Number.isSafeInteger(value) ? 'int' : 'float'
}

/** The type in which both can be compared and calculated; null where there is none. An int64 and a float have none that is exact. */
export function commonType(left: ColumnType, right: ColumnType): ColumnType | null {
  if (left === right) return left
  const pair = [left, right]
  if (!pair.includes('int')) return null
  return pair.find((type) => type === 'int64' || type === 'float') ?? null
}

export function typeOf(expression: Expression, columns: Columns): ColumnType {
  switch (expression.op) {
    case 'column':
      return columnType(columns, expression.name)
    case 'literal': {
      const type = expression.type ?? typeOfLiteral(expression.value)
      if (type === null) throw new PlanFault('a null needs a type here')
      return type
    }
    case 'negate': {
      const type = typeOf(expression.of, columns)
      if (isNumeric(type)) return type
      throw new PlanFault(`negate takes a number, not ${type}`)
    }
    case 'truncate': {
      const type = typeOf(expression.of, columns)
      if (type === 'time') return type
      throw new PlanFault(`truncate takes a time, not ${type}`)
    }
    case 'bucket':
      return 'int'
    default:
      return typeOfArithmetic(expression.op, typeOf(expression.left, columns), typeOf(expression.right, columns))
  }
}

const isNumeric = (type: ColumnType): boolean => type === 'int' || type === 'int64' || type === 'float'

function typeOfArithmetic(op: string, left: ColumnType, right: ColumnType): ColumnType {
  if (op === '-' && left === 'time' && right === 'time') return 'int'
  if ((op === '+' || op === '-') && left === 'time' && right === 'int') return 'time'
  if (op === '+' && left === 'int' && right === 'time') return 'time'
  const type = isNumeric(left) && isNumeric(right) ? commonType(left, right) : null
  if (type === null || (op === '%' && type === 'float')) throw new PlanFault(`${left} ${op} ${right} is not defined`)
  return type
}

/** The columns of an expression or a condition. */
export function columnsIn(of: Expression | Condition): string[] {
  switch (of.op) {
    case 'column':
      return [of.name]
    case 'literal':
      return []
    case 'and':
    case 'or':
      return of.of.flatMap(columnsIn)
    case 'shard':
      return of.by.flatMap(columnsIn)
    case 'not':
    case 'is null':
    case 'in':
    case 'negate':
    case 'truncate':
    case 'bucket':
      return columnsIn(of.of)
    default:
      return [...columnsIn(of.left), ...columnsIn(of.right)]
  }
}

export function columnsOfAggregate(of: Aggregate | PartialAggregate): string[] {
  if (of.op === 'state') return columnsOfAggregate(of.of)
  if (of.op === 'merge') return of.times === undefined ? [of.column] : [of.column, of.times]
  if (of.op === 'rate') return [...columnsIn(of.where), ...(of.among === undefined ? [] : columnsIn(of.among))]
  return of.column === undefined ? [] : [of.column]
}

function typeOfAggregate(of: Aggregate | PartialAggregate, columns: Columns): ColumnType {
  if (of.op === 'state') return 'text'
  if (of.op === 'merge') return typeOfResult(of.of, of.type)
  if (of.op === 'rate') return 'float'
  return typeOfResult(of.op, of.column === undefined ? 'int' : columnType(columns, of.column))
}

/** Over a column of a type. */
function typeOfResult(op: Aggregate['op'], type: ColumnType): ColumnType {
  switch (op) {
    case 'rate':
      return 'float'
    case 'count':
      return 'int'
    case 'sum':
      if (isNumeric(type)) return type
      break
    case 'avg':
    case 'variance':
      if (isNumeric(type)) return 'float'
      break
    case 'min':
    case 'max':
    case 'median':
      if (type !== 'bool') return type
      break
    default:
      if (type === 'int') return type
  }
  throw new PlanFault(`${op} is not defined for ${type}`)
}

/** The inputs of a step, in order, each with the field that holds it. */
export function inputsOf(plan: Plan): [field: string, input: Plan][] {
  switch (plan.op) {
    case 'from':
    case 'self':
      return []
    case 'join':
      return [
        ['left', plan.left],
        ['right', plan.right],
      ]
    case 'union':
    case 'unionAll':
      return plan.inputs.map((input, index) => [`inputs[${index}]`, input])
    case 'recurse':
      return [
        ['base', plan.base],
        ['step', plan.step],
      ]
    default:
      return [['input', plan.input]]
  }
}

type Inner = Exclude<Plan, { op: 'from' | 'self' }>

/** The columns after a step, from those of its inputs. Throws PlanFault. */
export function columnsAfter(plan: Inner, inputs: readonly Columns[]): Columns {
  const [first = new Map<string, ColumnType>(), second = first] = inputs
  switch (plan.op) {
    case 'where':
    case 'distinct':
      return first
    case 'window':
      if (columnType(first, plan.column) === 'time') return first
      throw new PlanFault(`${plan.column} is no time`)
    case 'top':
      for (const [name] of plan.orderBy) columnType(first, name)
      return first
    case 'map':
      return named([...first, ...plan.columns.map(([name, of]) => [name, typeOf(of, first)] as const)])
    case 'project':
      return named(plan.columns.map(([name, column]) => [name, columnType(first, column)] as const))
    case 'join':
      return columnsOfJoin(plan, first, second)
    case 'groupBy':
      return named([
        ...plan.by.map((name) => [name, columnType(first, name)] as const),
        ...plan.aggregates.map(([name, of]) => [name, typeOfAggregate(of, first)] as const),
      ])
    case 'union':
    case 'unionAll':
    case 'recurse': {
      const shapes = inputs.map((columns) => [...columns].map(([name, type]) => `${name} ${type}`).join(', '))
      const other = shapes.find((shape) => shape !== shapes[0])
      if (other === undefined) return first
      throw new PlanFault(`the columns must be the same everywhere: (${shapes[0]}) and (${other})`)
    }
  }
}

function columnsOfJoin(plan: Extract<Plan, { op: 'join' }>, left: Columns, right: Columns): Columns {
  for (const [ofLeft, ofRight] of plan.on) {
    const [leftType, rightType] = [columnType(left, ofLeft), columnType(right, ofRight)]
    if (leftType !== rightType) {
      throw new PlanFault(`${ofLeft} is ${leftType} and ${ofRight} is ${rightType}: join on columns of one type`)
    }
  }
  if (plan.kind === 'anti') return left
  return named([...left, ...keptOfRight(plan, right).map(([name, type]) => [joinedName(plan, name), type] as const)])
}

/** The right columns that a join gives: those that it does not compare. */
export function keptOfRight(plan: { on: [string, string][] }, right: Columns): [string, ColumnType][] {
  return [...right].filter(([name]) => !plan.on.some(([, compared]) => compared === name))
}

export const joinedName = (plan: { prefix?: string }, name: string): string => `${plan.prefix ?? ''}${name}`

function named(pairs: readonly (readonly [string, ColumnType])[]): Columns {
  const columns = new Map<string, ColumnType>()
  for (const [name, type] of pairs) {
    if (columns.has(name))
      throw new PlanFault(`two columns ${JSON.stringify(name)}: rename one, or give a join a prefix`)
    columns.set(name, type)
  }
  return columns
}
