// Random plans over two relations, and random histories of these. A plan keeps to what SQL computes exactly too.
import fc from 'fast-check'
import { MAX_PLAN_STEPS } from '../../../src/protocol/limits.ts'
import type { Aggregate, Comparison, Condition, Expression, Literal, Plan } from '../../../src/protocol/plan.ts'
import { columnsAfter, inputsOf } from '../../../src/protocol/plan-columns.ts'
import type { Columns, ColumnType, Relations } from '../../../src/protocol/relations.ts'
import { relationsWith } from './world.ts'

export const OWN = {
  a: { id: 'int', k: 'text', n: 'int', f: 'float', big: 'int64', b: 'bool', t: 'time' },
  c: { id: 'int', k: 'text', m: 'int' },
} as const
export const OWN_RELATIONS: Relations = relationsWith(OWN)

const TEXTS = ['', 'a', 'b', 'é', '\uffff', '😀', "o'x"]
const VALUES: Record<ColumnType, fc.Arbitrary<Literal>> = {
  text: fc.constantFrom(...TEXTS),
  bool: fc.boolean(),
  int: fc.oneof(fc.integer({ min: -3, max: 6 }), fc.integer({ min: -600, max: 600 })),
  int64: fc.oneof(fc.constantFrom('0', '-1', '9007199254740993'), fc.integer({ min: -9, max: 9 }).map(String)),
  // Eighths: their sums are exact in any order, also for the database.
  float: fc.integer({ min: -40, max: 40 }).map((eighths) => eighths / 8 + 0),
  time: fc.integer({ min: -700_000_000, max: 700_000_000 }),
}

export const anyRow = (relation: keyof typeof OWN): fc.Arbitrary<Record<string, Literal>> =>
  fc.record(
    Object.fromEntries(
      Object.entries(OWN[relation]).map(([name, type]) => {
        const value = name === 'id' ? fc.integer({ min: 0, max: 6 }) : VALUES[type]
        return [name, fc.option(value, { freq: 6 })]
      }),
    ),
  )

type Draw = <T>(arbitrary: fc.Arbitrary<T>) => T

export function randomPlan(draw: Draw, options: { hasRecursion?: boolean } = {}): Plan {
  const plan = new Random(draw, options).plan(draw(fc.integer({ min: 1, max: 4 })))
  // Branches double what is below them, and a plan has its bound.
  return stepsOf(plan) > MAX_PLAN_STEPS ? new Random(draw, options).plan(1) : plan
}

const stepsOf = (plan: Plan): number => inputsOf(plan).reduce((sum, [, input]) => sum + stepsOf(input), 1)

/** Names of columns that hold what is rounded, so that no sum is taken of them. */
const isRounded = (name: string): boolean => name.includes('r_')

class Random {
  readonly #draw: Draw
  readonly #hasRecursion: boolean
  #names = 0

  constructor(draw: Draw, { hasRecursion = true }: { hasRecursion?: boolean }) {
    this.#draw = draw
    this.#hasRecursion = hasRecursion
  }

  plan(depth: number): Plan {
    if (depth === 0) return { op: 'from', relation: this.#one(['a', 'c']) }
    const op = this.#one<Plan['op']>([
      ...(['where', 'where', 'map', 'project', 'join', 'join', 'union', 'unionAll', 'distinct'] as const),
      ...(['groupBy', 'groupBy', 'top', 'window'] as const),
      ...(this.#hasRecursion ? (['recurse'] as const) : []),
    ])
    const input = this.plan(depth - 1)
    const columns = columnsOf(input)
    switch (op) {
      case 'where':
        return { op, input, condition: this.#condition(columns, 2) }
      case 'map':
        return { op, input, columns: this.#computed(columns) }
      case 'project':
        return { op, input, columns: this.#subset(columns).map((name) => [this.#rename(name), name]) }
      case 'join':
        return this.#join(input, depth)
      case 'union':
      case 'unionAll': {
        const branch = (): Plan => ({ op: 'where', input, condition: this.#condition(columns, 1) })
        return { op, inputs: [branch(), branch()] }
      }
      case 'distinct':
        return { op, input: { op: 'project', input, columns: this.#subset(columns).map((name) => [name, name]) } }
      case 'groupBy':
        return this.#groupBy(input)
      case 'top': {
        const orderBy = this.#subset(columns).map((name) => [name, this.#one(['asc', 'desc'])] as [string, 'asc'])
        return { op, input, orderBy, limit: this.#draw(fc.integer({ min: 1, max: 5 })) }
      }
      case 'window': {
        const times = [...columns].filter(([, type]) => type === 'time').map(([name]) => name)
        if (times.length === 0) return { op: 'distinct', input }
        return { op, input, column: this.#one(times), lengthMs: this.#draw(fc.integer({ min: 1, max: 400_000_000 })) }
      }
      default:
        return this.#recurse()
    }
  }

  #one<T>(items: readonly T[]): T {
    return this.#draw(fc.constantFrom(...items))
  }

  #subset(columns: Columns): string[] {
    return this.#draw(fc.shuffledSubarray([...columns.keys()], { minLength: 1, maxLength: Math.min(3, columns.size) }))
  }

  #name(prefix: string): string {
    return `${prefix}${this.#names++}`
  }

  #rename(name: string): string {
    return this.#name(isRounded(name) ? 'r_' : 'p')
  }

  #join(left: Plan, depth: number): Plan {
    const right = this.plan(this.#draw(fc.integer({ min: 0, max: Math.max(0, depth - 2) })))
    const pairs = [...columnsOf(left)].flatMap(([a, type]) =>
      [...columnsOf(right)].filter(([, other]) => other === type).map(([b]): [string, string] => [a, b]),
    )
    const [first, second] = this.#draw(fc.shuffledSubarray(pairs))
    if (first === undefined) return { op: 'distinct', input: left }
    const on = second !== undefined && second[1] !== first[1] && this.#draw(fc.boolean()) ? [first, second] : [first]
    const prefix = this.#name([...columnsOf(right).keys()].some(isRounded) ? 'jr_' : 'j')
    return { op: 'join', kind: this.#one(['inner', 'inner', 'left', 'anti']), left, right, on, prefix }
  }

  #groupBy(input: Plan): Plan {
    const columns = columnsOf(input)
    const by = this.#draw(fc.shuffledSubarray([...columns.keys()], { maxLength: Math.min(2, columns.size) }))
    const ops = this.#draw(fc.array(fc.constantFrom(...AGGREGATES), { minLength: 1, maxLength: 3 }))
    const aggregates = ops.map((op): [string, Aggregate] => {
      const fits = [...columns].filter(([name, type]) => TAKES[op](type) && !(isRounded(name) && ADDS.includes(op)))
      if (op === 'rate') {
        const [where, among] = [this.#condition(columns, 1), this.#condition(columns, 1)]
        return [this.#name('r_'), this.#draw(fc.boolean()) ? { op, where } : { op, where, among }]
      }
      if (fits.length === 0) return [this.#name('n'), { op: 'count' }]
      const [column] = this.#one(fits)
      return [this.#name(op === 'avg' || op === 'variance' || isRounded(column) ? 'r_' : 'g'), { op, column }]
    })
    return { op: 'groupBy', input, by, aggregates }
  }

  /** What follows along the edges of c, or count up to a bound. */
  #recurse(): Plan {
    const c: Plan = { op: 'from', relation: 'c' }
    const base: Plan = {
      op: 'project',
      input: { op: 'where', input: c, condition: this.#condition(columnsOf(c), 1) },
      columns: [['at', 'id']],
    }
    const name = 'found'
    const self: Plan = { op: 'self', name }
    const edges: Plan = {
      op: 'project',
      input: c,
      columns: [
        ['at', 'id'],
        ['next', 'm'],
      ],
    }
    const follow: Plan = {
      op: 'project',
      input: { op: 'join', kind: this.#one(['inner', 'left']), left: self, right: edges, on: [['at', 'at']] },
      columns: [['at', 'next']],
    }
    const count: Plan = {
      op: 'project',
      input: {
        op: 'map',
        input: { op: 'where', input: self, condition: { op: '<', left: column('at'), right: literal(9) } },
        columns: [['up', { op: '+', left: column('at'), right: literal(1) }]],
      },
      columns: [['at', 'up']],
    }
    const step = this.#one<Plan>([follow, follow, count, { op: 'distinct', input: follow }])
    return { op: 'recurse', name, base, step }
  }

  #condition(columns: Columns, depth: number): Condition {
    const [name, type] = this.#one([...columns])
    const of = column(name)
    const kind = depth === 0 ? 'compare' : this.#one(['compare', 'compare', 'beside', 'in', 'null', 'and', 'or', 'not'])
    const is = this.#one<Comparison>(['=', '=', '!=', '<', '<=', '>', '>='])
    switch (kind) {
      case 'beside': {
        const others = [...columns].filter(([, other]) => other === type)
        return { op: is, left: of, right: column(this.#one(others)[0]) }
      }
      case 'in':
        return { op: 'in', of, values: this.#draw(fc.array(fc.option(VALUES[type], { freq: 5 }), { maxLength: 3 })) }
      case 'null':
        return { op: 'is null', of }
      case 'and':
      case 'or':
        return { op: kind, of: [this.#condition(columns, depth - 1), this.#condition(columns, depth - 1)] }
      case 'not':
        return { op: 'not', of: this.#condition(columns, depth - 1) }
      default:
        return { op: is, left: of, right: { op: 'literal', value: this.#draw(VALUES[type]), type } }
    }
  }

  #computed(columns: Columns): [string, Expression][] {
    return this.#subset(columns).map((name) => {
      const of = column(name)
      const type = columns.get(name)
      const prefix = isRounded(name) ? 'r_' : 'm'
      if (type === 'time')
        return [this.#name('t'), { op: 'truncate', to: this.#one(['minute', 'hour', 'day', 'week']), of }]
      if (type === 'int' || type === 'int64') {
        const op = this.#one(['+', '-', '*', '/', '%'] as const)
        const beside = this.#one([of, literal(3), literal(-2)])
        const right = op === '/' || op === '%' ? literal(-4) : beside
        // A product of products would soon leave the range.
        if (op === '*' && !name.startsWith('m')) return [this.#name('m'), { op, left: of, right: literal(3) }]
        return [this.#name('m'), { op: op === '*' ? '+' : op, left: of, right }]
      }
      if (type === 'float') return [this.#name(prefix), { op: 'negate', of }]
      return [this.#name(prefix), of]
    })
  }
}

const column = (name: string): Expression => ({ op: 'column', name })
const literal = (value: Literal): Expression => ({ op: 'literal', value })

const AGGREGATES = ['count', 'sum', 'avg', 'variance', 'min', 'max', 'median', 'p50', 'p95', 'p99', 'rate'] as const
const ADDS: readonly string[] = ['sum', 'avg', 'variance']
const isNumber = (type: ColumnType): boolean => type === 'int' || type === 'int64' || type === 'float'
const TAKES: Record<(typeof AGGREGATES)[number], (type: ColumnType) => boolean> = {
  count: () => true,
  rate: () => true,
  sum: (type) => type === 'int' || type === 'float',
  avg: isNumber,
  variance: isNumber,
  min: (type) => type !== 'bool',
  max: (type) => type !== 'bool',
  median: (type) => type !== 'bool',
  p50: (type) => type === 'int',
  p95: (type) => type === 'int',
  p99: (type) => type === 'int',
}

function columnsOf(plan: Plan): Columns {
  if (plan.op === 'from') return OWN_RELATIONS.get(plan.relation) ?? new Map<string, ColumnType>()
  if (plan.op === 'self') return new Map<string, ColumnType>([['at', 'int']])
  if (plan.op === 'recurse') return columnsOf(plan.base)
  return columnsAfter(
    plan,
    inputsOf(plan).map(([, input]) => columnsOf(input)),
  )
}
