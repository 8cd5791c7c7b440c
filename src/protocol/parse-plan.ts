// Parses a plan that a client sent: every step is checked and its columns inferred before anything runs.
import { CallplaneError } from './errors.ts'
import {
  MAX_PLAN_COLUMNS,
  MAX_PLAN_DEPTH,
  MAX_PLAN_LITERALS,
  MAX_PLAN_STEPS,
  MAX_TOP_ROWS,
  MAX_WINDOW_MS,
} from './limits.ts'
import { parseCondition, parseExpression, type Scope } from './parse-condition.ts'
import type { Aggregate, Direction, JoinKind, Plan } from './plan.ts'
import { columnsAfter, inputsOf, PlanFault } from './plan-columns.ts'
import { fieldsOf, listOf, nameOf, oneOf, pairsOf, textOf, wholeOf } from './plan-fields.ts'
import type { Columns, Relations } from './relations.ts'

export interface ParsedPlan {
  plan: Plan
  columns: Columns
}

interface Context {
  relations: Relations
  /** What each enclosing `recurse` has found, by name. */
  found: ReadonlyMap<string, Columns>
  counts: { steps: number; literals: number }
  depth: number
}

const AGGREGATES = ['sum', 'avg', 'variance', 'min', 'max', 'median', 'p50', 'p95', 'p99'] as const

/**
 * The plan in its one form, with the columns of its rows. Throws `invalid_plan`, which names the step:
 * `plan.groupBy.input.where: no column "sate"; there are id, service, …`.
 */
export function parsePlan(value: unknown, relations: Relations): ParsedPlan {
  return parseStep(value, 'plan', { relations, found: new Map(), counts: { steps: 0, literals: 0 }, depth: 1 })
}

function parseStep(value: unknown, path: string, context: Context): ParsedPlan {
  let at = path
  try {
    context.counts.steps++
    if (context.counts.steps > MAX_PLAN_STEPS) throw new PlanFault(`a plan has at most ${MAX_PLAN_STEPS} steps`)
    if (context.depth > MAX_PLAN_DEPTH) throw new PlanFault(`a plan is at most ${MAX_PLAN_DEPTH} steps deep`)
    const fields = fieldsOf(value)
    const op = oneOf(OPS, fields.get('op'), 'op')
    at = `${path}.${op}`
    const inner = { ...context, depth: context.depth + 1 }
    const parsed = parseOp(
      op,
      fields,
      (field, found) => {
        const [name = '', index] = field.split('#')
        const child = index === undefined ? fields.get(name) : listOf(fields.get(name), name)[Number(index)]
        const childPath = index === undefined ? `${at}.${name}` : `${at}.${name}[${index}]`
        return parseStep(child, childPath, found === undefined ? inner : { ...inner, found })
      },
      context,
    )
    if (parsed.columns.size > MAX_PLAN_COLUMNS || parsed.columns.size === 0) {
      throw new PlanFault(`a step has 1 to ${MAX_PLAN_COLUMNS} columns, not ${parsed.columns.size}`)
    }
    if (context.counts.literals > MAX_PLAN_LITERALS) {
      throw new PlanFault(`a plan has at most ${MAX_PLAN_LITERALS} constants`)
    }
    return parsed
  } catch (error) {
    if (error instanceof PlanFault) throw new CallplaneError('invalid_plan', `${at}: ${error.message}`)
    throw error
  }
}

const OPS = 'from self where map project join union unionAll distinct groupBy top window recurse'.split(
  ' ',
) as Plan['op'][] // the switch below holds the list to the type

type Fields = ReadonlyMap<string, unknown>
/** Parses the input in a field, or with `inputs#2` one of a list; in a recursion with what it has found. */
type Child = (field: string, found?: Context['found']) => ParsedPlan

function parseOp(op: Plan['op'], fields: Fields, child: Child, context: Context): ParsedPlan {
  const scope = (columns: Columns): Scope => ({ columns, counts: context.counts })
  const done = (plan: Exclude<Plan, { op: 'from' | 'self' }>, ...inputs: ParsedPlan[]): ParsedPlan => {
    known(fields, plan)
    return {
      plan,
      columns: columnsAfter(
        plan,
        inputs.map(({ columns }) => columns),
      ),
    }
  }
  switch (op) {
    case 'from':
      return known(fields, leaf({ op, relation: textOf(fields.get('relation'), 'relation') }, context.relations))
    case 'self':
      return known(fields, leaf({ op, name: textOf(fields.get('name'), 'name') }, context.found))
    case 'where': {
      const input = child('input')
      const condition = parseCondition(fields.get('condition'), scope(input.columns))
      return done({ op, input: input.plan, condition }, input)
    }
    case 'map': {
      const input = child('input')
      const columns = pairsOf(fields.get('columns'), 'columns').map(
        ([name, of]): [string, ReturnType<typeof parseExpression>] => [
          nameOf(name),
          parseExpression(of, scope(input.columns)),
        ],
      )
      return done({ op, input: input.plan, columns }, input)
    }
    case 'project': {
      const input = child('input')
      const columns = pairsOf(fields.get('columns'), 'columns').map(([name, column]): [string, string] => [
        nameOf(name),
        textOf(column, 'column'),
      ])
      return done({ op, input: input.plan, columns }, input)
    }
    case 'join': {
      const [left, right] = [child('left'), child('right')]
      const kind = oneOf<JoinKind>(['inner', 'left', 'anti'], fields.get('kind'), 'kind')
      const on = pairsOf(fields.get('on'), 'on').map(([a, b]): [string, string] => [textOf(a, 'on'), textOf(b, 'on')])
      if (on.length === 0) throw new PlanFault('on needs a pair of columns')
      const prefix = fields.get('prefix')
      const called = prefix === undefined ? {} : { prefix: nameOf(prefix) }
      const joined = done({ op, kind, left: left.plan, right: right.plan, on, ...called }, left, right)
      for (const name of joined.columns.keys()) nameOf(name)
      return joined
    }
    case 'union':
    case 'unionAll': {
      const inputs = listOf(fields.get('inputs'), 'inputs').map((_, index) => child(`inputs#${index}`))
      if (inputs.length === 0) throw new PlanFault('inputs needs a step')
      return done({ op, inputs: inputs.map(({ plan }) => plan) }, ...inputs)
    }
    case 'distinct': {
      const input = child('input')
      return done({ op, input: input.plan }, input)
    }
    case 'groupBy': {
      const input = child('input')
      const by = listOf(fields.get('by'), 'by').map((name) => textOf(name, 'by'))
      const aggregates = pairsOf(fields.get('aggregates'), 'aggregates').map(([name, of]): [string, Aggregate] => [
        nameOf(name),
        parseAggregate(of, scope(input.columns)),
      ])
      return done({ op, input: input.plan, by, aggregates }, input)
    }
    case 'top': {
      const input = child('input')
      const orderBy = pairsOf(fields.get('orderBy'), 'orderBy').map(([column, direction]): [string, Direction] => [
        textOf(column, 'column'),
        oneOf<Direction>(['asc', 'desc'], direction, 'direction'),
      ])
      return done({ op, input: input.plan, orderBy, limit: wholeOf(fields.get('limit'), 'limit', MAX_TOP_ROWS) }, input)
    }
    case 'window': {
      const input = child('input')
      const lengthMs = wholeOf(fields.get('lengthMs'), 'lengthMs', MAX_WINDOW_MS)
      return done({ op, input: input.plan, column: textOf(fields.get('column'), 'column'), lengthMs }, input)
    }
    case 'recurse': {
      const name = nameOf(fields.get('name'))
      if (context.found.has(name)) throw new PlanFault(`${name} is the name of an outer recurse`)
      const base = child('base')
      const step = child('step', new Map([...context.found, [name, base.columns]]))
      checkLinear(step.plan, name)
      return done({ op, name, base: base.plan, step: step.plan }, base, step)
    }
  }
}

function leaf(plan: Extract<Plan, { op: 'from' | 'self' }>, known: Relations): ParsedPlan {
  const name = plan.op === 'from' ? plan.relation : plan.name
  const columns = known.get(name)
  if (columns !== undefined) return { plan, columns }
  const what = plan.op === 'from' ? 'relation' : 'recurse'
  const there = [...known.keys()].join(', ') || 'none'
  throw new PlanFault(`no ${what} ${JSON.stringify(name.slice(0, 80))}; there are ${there.slice(0, 500)}`)
}

/** A field that is not understood is refused: a plan must never run without a part of it. */
function known<P extends object>(fields: Fields, parsed: P): P {
  const step = 'plan' in parsed && typeof parsed.plan === 'object' && parsed.plan !== null ? parsed.plan : parsed
  const stray = [...fields.keys()].find((field) => !Object.hasOwn(step, field))
  if (stray !== undefined) throw new PlanFault(`${JSON.stringify(stray.slice(0, 80))} is not a field of this step`)
  return parsed
}

function parseAggregate(value: unknown, scope: Scope): Aggregate {
  const fields = fieldsOf(value)
  const op = oneOf([...AGGREGATES, 'count', 'rate'] as const, fields.get('op'), 'op of an aggregate')
  if (op === 'rate') {
    const where = parseCondition(fields.get('where'), scope)
    const among = fields.get('among')
    return known(fields, among === undefined ? { op, where } : { op, where, among: parseCondition(among, scope) })
  }
  if (op === 'count' && fields.get('column') === undefined) return known(fields, { op })
  return known(fields, { op, column: textOf(fields.get('column'), 'column') })
}

/** A step reads itself once, where each row that it finds adds rows and takes none away. */
function checkLinear(step: Plan, name: string): void {
  const count = (plan: Plan): number =>
    plan.op === 'self' && plan.name === name ? 1 : inputsOf(plan).reduce((sum, [, input]) => sum + count(input), 0)
  if (count(step) !== 1)
    throw new PlanFault(`step must read self ${JSON.stringify(name)} once, not ${count(step)} times`)
  const walk = (plan: Plan): void => {
    const isThrough = ['self', 'where', 'map', 'project', 'union', 'unionAll', 'distinct'].includes(plan.op)
    const isJoin = plan.op === 'join' && (plan.kind === 'inner' || count(plan.left) === 1)
    if (!isThrough && !isJoin) throw new PlanFault(`step must not read itself through ${plan.op}`)
    for (const [, input] of inputsOf(plan)) if (count(input) === 1) walk(input)
  }
  walk(step)
}
