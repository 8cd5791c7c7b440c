// A plan is checked before anything runs: what is wrong is refused with its place, what is right has one form.
import { expect, test } from 'vitest'
import { CallplaneError } from '../../src/protocol/errors.ts'
import { from } from '../../src/protocol/from.ts'
import { count } from '../../src/protocol/aggregation.ts'
import { MAX_PLAN_DEPTH, MAX_PLAN_LITERALS, MAX_PLAN_STEPS, MAX_TOP_ROWS } from '../../src/protocol/limits.ts'
import { parsePlan } from '../../src/protocol/parse-plan.ts'
import { planText } from '../../src/protocol/plan.ts'
import { parseRow, parseValue, RELATIONS, type ColumnType } from '../../src/protocol/relations.ts'

const jobs = { op: 'from', relation: 'jobs' }
const column = (name: string) => ({ op: 'column', name })
const literal = (value: unknown) => ({ op: 'literal', value })
const where = (condition: unknown, input: unknown = jobs) => ({ op: 'where', input, condition })
const RELATIONS_HERE = new Map([
  ...RELATIONS,
  [
    'odd',
    new Map<string, ColumnType>([
      ['big', 'int64'],
      ['f', 'float'],
      ['b', 'bool'],
      ['n', 'int'],
    ]),
  ] as const,
])

function refusal(plan: unknown): string {
  try {
    parsePlan(plan, RELATIONS_HERE)
  } catch (error) {
    if (error instanceof CallplaneError && error.code === 'invalid_plan') return error.message
    throw error
  }
  return 'accepted'
}

const deep = (depth: number): unknown => (depth === 1 ? jobs : { op: 'distinct', input: deep(depth - 1) })
const wide = (count: number): unknown => ({ op: 'unionAll', inputs: Array.from({ length: count }, () => jobs) })
const odd = { op: 'from', relation: 'odd' }
const self = { op: 'self', name: 'x' }
const ids = { op: 'project', input: jobs, columns: [['id', 'id']] }
const recurse = (step: unknown) => ({ op: 'recurse', name: 'x', base: ids, step })

test.each<[string, unknown, string | RegExp]>([
  ['no plan', null, 'plan: must be an object with the field op'],
  ['an unknown step', { op: 'drop' }, /^plan: op must be one of from, self, where, .*, not "drop"$/],
  [
    'an unknown relation',
    { op: 'from', relation: 'job' },
    'plan.from: no relation "job"; there are jobs, redrives, runners, services, odd',
  ],
  [
    'an unknown column, deep inside',
    {
      op: 'groupBy',
      by: [],
      aggregates: [['n', { op: 'count' }]],
      input: where({ op: '=', left: column('sate'), right: literal('failed') }),
    },
    /^plan\.groupBy\.input\.where: no column "sate"; there are id, service, function, /,
  ],
  ['a column of Object.prototype', where({ op: 'is null', of: column('__proto__') }), /no column "__proto__"/],
  ['a stray field', { ...jobs, limit: 5 }, 'plan.from: "limit" is not a field of this step'],
  [
    'a stray field of a condition',
    where({ op: 'not', of: { op: 'is null', of: column('id') }, if: 1 }),
    'plan.where: "if" is not a field of this condition',
  ],
  [
    'types that do not compare',
    where({ op: '<', left: column('id'), right: column('attempt') }),
    'plan.where: text < int does not compare',
  ],
  [
    'an int64 beside a float',
    where({ op: '=', left: column('big'), right: column('f') }, odd),
    'plan.where: int64 = float does not compare',
  ],
  [
    'a time beside an int',
    where({ op: '=', left: column('created_at'), right: column('run_ms') }),
    'plan.where: time = int does not compare',
  ],
  [
    'a constant of another type',
    where({ op: 'in', of: column('attempt'), values: ['x'] }),
    'plan.where: "x" is not of type int',
  ],
  [
    'a null without a type',
    where({ op: '=', left: literal(null), right: literal(null) }),
    'plan.where: a null needs a type here',
  ],
  [
    'a text to add',
    { op: 'map', input: jobs, columns: [['x', { op: '+', left: column('id'), right: literal(1) }]] },
    'plan.map: text + int is not defined',
  ],
  [
    'a rest of floats',
    { op: 'map', input: odd, columns: [['x', { op: '%', left: column('f'), right: column('f') }]] },
    'plan.map: float % float is not defined',
  ],
  [
    'a name that is taken',
    { op: 'map', input: jobs, columns: [['id', column('service')]] },
    /^plan\.map: two columns "id"/,
  ],
  [
    'a name that is none',
    { op: 'project', input: jobs, columns: [['a"b', 'id']] },
    /^plan\.project: "a\\"b" cannot name a column/,
  ],
  [
    'the least of booleans',
    { op: 'groupBy', input: odd, by: [], aggregates: [['x', { op: 'min', column: 'b' }]] },
    'plan.groupBy: min is not defined for bool',
  ],
  [
    'a percentile of floats',
    { op: 'groupBy', input: odd, by: [], aggregates: [['x', { op: 'p95', column: 'f' }]] },
    'plan.groupBy: p95 is not defined for float',
  ],
  ['nothing', { op: 'groupBy', input: odd, by: [], aggregates: [] }, 'plan.groupBy: a step has 1 to 64 columns, not 0'],
  [
    'a join of two types',
    { op: 'join', kind: 'inner', left: jobs, right: odd, on: [['id', 'n']] },
    /^plan\.join: id is text and n is int/,
  ],
  [
    'a join that clashes',
    { op: 'join', kind: 'left', left: jobs, right: jobs, on: [['id', 'parent']] },
    /^plan\.join: two columns "id".*prefix$/,
  ],
  [
    'a union of unequal columns',
    { op: 'union', inputs: [ids, odd] },
    /^plan\.union: the columns must be the same everywhere/,
  ],
  [
    'a window over what is no time',
    { op: 'window', input: jobs, column: 'run_ms', lengthMs: 5 },
    'plan.window: run_ms is no time',
  ],
  [
    'too many rows',
    { op: 'top', input: jobs, orderBy: [['id', 'asc']], limit: MAX_TOP_ROWS + 1 },
    'plan.top: limit must be a whole number from 1 to 1000',
  ],
  ['self outside', self, 'plan.self: no recurse "x"; there are none'],
  ['a step without itself', recurse(ids), 'plan.recurse: step must read self "x" once, not 0 times'],
  [
    'a step with itself twice',
    recurse({ op: 'join', kind: 'inner', left: self, right: self, on: [['id', 'id']] }),
    /once, not 2 times$/,
  ],
  [
    'a step that could take rows away',
    recurse({ op: 'join', kind: 'anti', left: ids, right: self, on: [['id', 'id']] }),
    'plan.recurse: step must not read itself through join',
  ],
  [
    'a step with an aggregate',
    recurse({ op: 'groupBy', input: self, by: ['id'], aggregates: [] }),
    'plan.recurse: step must not read itself through groupBy',
  ],
  ['too deep', deep(MAX_PLAN_DEPTH + 1), /: a plan is at most 32 steps deep$/],
  ['too many steps', wide(MAX_PLAN_STEPS), /: a plan has at most 64 steps$/],
  [
    'too many constants',
    where(
      { op: 'or', of: [0, 1].map(() => ({ op: 'in', of: column('n'), values: Array(MAX_PLAN_LITERALS).fill(1) })) },
      odd,
    ),
    'plan.where: a plan has at most 1000 constants',
  ],
  [
    'a long constant',
    where({ op: '=', left: column('id'), right: literal('x'.repeat(1_001)) }),
    'plan.where: a constant has at most 1000 characters',
  ],
])('%s is refused', (_, plan, message) => {
  expect(refusal(plan)).toMatch(message)
})

test('what is at its bounds is accepted', () => {
  expect(refusal(deep(MAX_PLAN_DEPTH))).toBe('accepted')
  expect(refusal(wide(MAX_PLAN_STEPS - 1))).toBe('accepted')
})

test('equal plans are equal texts, whatever the order of their fields and the form of their constants', () => {
  const built = from('jobs').where({ state: 'failed' }).groupBy('service').aggregate({ n: count() }).plan
  const turned = {
    aggregates: [['n', { op: 'count' }]],
    by: ['service'],
    input: {
      condition: {
        right: { type: 'text', value: 'failed', op: 'literal' },
        left: { name: 'state', op: 'column' },
        op: '=',
      },
      input: jobs,
      op: 'where',
    },
    op: 'groupBy',
  }
  const [a, b] = [built, turned].map((plan) => planText(parsePlan(plan, RELATIONS).plan))
  expect(a).toBe(b)
  expect(planText(parsePlan(JSON.parse(a ?? ''), RELATIONS).plan)).toBe(a)
})

test('a constant takes the type of what it stands beside', () => {
  const typeOf = (left: string, value: unknown, input: unknown): unknown => {
    const { plan } = parsePlan(where({ op: '=', left: column(left), right: literal(value) }, input), RELATIONS_HERE)
    return plan.op === 'where' && plan.condition.op === '=' ? plan.condition.right : null
  }
  expect(typeOf('big', '9007199254740993', odd)).toEqual({ op: 'literal', value: '9007199254740993', type: 'int64' })
  expect(typeOf('big', 7, odd)).toEqual({ op: 'literal', value: '7', type: 'int64' })
  expect(typeOf('f', 1, odd)).toEqual({ op: 'literal', value: 1, type: 'float' })
  expect(typeOf('created_at', 1, jobs)).toEqual({ op: 'literal', value: 1, type: 'time' })
  const moved = parsePlan(
    { op: 'map', input: jobs, columns: [['t', { op: '+', left: column('created_at'), right: literal(1) }]] },
    RELATIONS,
  )
  expect(moved.columns.get('t')).toBe('time')
})

test('the columns of every step are inferred, in order', () => {
  const { columns } = parsePlan(
    from('jobs')
      .select('service', 'runner', 'run_ms')
      .leftJoin(from('runners').select('id', 'host'), { on: [['runner', 'id']], prefix: 'at_' }).plan,
    RELATIONS,
  )
  expect([...columns]).toEqual([
    ['service', 'text'],
    ['runner', 'text'],
    ['run_ms', 'int'],
    ['at_host', 'text'],
  ])
})

test('a value has a form in its type, or none', () => {
  expect(parseValue('int64', '9223372036854775807')).toBe(2n ** 63n - 1n)
  expect(parseValue('int64', '9223372036854775808')).toBeUndefined()
  expect(parseValue('int', 2 ** 53)).toBeUndefined()
  expect(parseValue('float', Number.NaN)).toBeUndefined()
  expect(Object.is(parseValue('float', -0), 0)).toBe(true)
  expect(parseValue('text', '\ud800')).toBeUndefined()
  expect(parseValue('text', '\0')).toBeUndefined()
  expect(
    parseRow(
      new Map<string, ColumnType>([
        ['a', 'int'],
        ['b', 'text'],
      ]),
      { b: 'x' },
      'row',
    ),
  ).toEqual([null, 'x'])
  expect(() => parseRow(new Map<string, ColumnType>([['a', 'int']]), { c: 1 }, 'row')).toThrow('row.c is not a column')
})
