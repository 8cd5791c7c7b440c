// The builder of plans: what it sends, and the types that it gives. The compiler checks the types (npm run types).
import { gzipSync } from 'node:zlib'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { expect, expectTypeOf, test } from 'vitest'
import { avg, count, failureRate, max, rate, sum } from '../../src/protocol/aggregation.ts'
import { and, is, isNull, not, or } from '../../src/protocol/condition.ts'
import { column, literal, minus, plus, truncate } from '../../src/protocol/expression.ts'
import { from, type RowOf } from '../../src/protocol/from.ts'
import type { JobState } from '../../src/protocol/job.ts'
import { parsePlan } from '../../src/protocol/parse-plan.ts'
import { RELATIONS } from '../../src/protocol/relations.ts'

const machines = from('machines', { machine: 'text', cores: 'int', serial: 'int64' })

test('a plan reads as it is written', () => {
  const failing = from('jobs').where({ state: 'failed' }).groupBy('service', 'function').count()
  expect(failing.plan).toEqual({
    op: 'groupBy',
    input: {
      op: 'where',
      input: { op: 'from', relation: 'jobs' },
      condition: { op: '=', left: { op: 'column', name: 'state' }, right: { op: 'literal', value: 'failed' } },
    },
    by: ['service', 'function'],
    aggregates: [['count', { op: 'count' }]],
  })
  expectTypeOf<RowOf<typeof failing>>().toEqualTypeOf<{ service: string; function: string; count: number }>()
})

test('the short form is equality, one of several, or null', () => {
  const { plan } = from('jobs').where({ runner: null, service: ['a', 'b'], attempt: 1 })
  expect(plan.op === 'where' && plan.condition).toEqual({
    op: 'and',
    of: [
      { op: 'is null', of: { op: 'column', name: 'runner' } },
      { op: 'in', of: { op: 'column', name: 'service' }, values: ['a', 'b'] },
      { op: '=', left: { op: 'column', name: 'attempt' }, right: { op: 'literal', value: 1 } },
    ],
  })
})

test('a builder never changes', () => {
  const jobs = from('jobs')
  const before = JSON.stringify(jobs.plan)
  jobs.where({ state: 'failed' }).map({ total: plus('wait_ms', 'run_ms') })
  expect(JSON.stringify(jobs.plan)).toBe(before)
})

test('what every method builds is a plan that the plane accepts', () => {
  const jobs = from('jobs')
  const all = [
    jobs
      .where('run_ms', '>', column('wait_ms'))
      .where(or(is('attempt', '>', 1), and(isNull('parent'), not(isNull('runner'))))),
    jobs
      .map({ total: plus('wait_ms', minus('run_ms', 1)), hour: truncate('created_at', 'hour'), one: literal(1) })
      .select('id', 'hour'),
    jobs
      .select({ job: 'id' })
      .distinct()
      .union(jobs.select({ job: 'parent' }).where('job', '!=', 'x')),
    jobs.antiJoin(from('services'), {
      on: [
        ['service', 'service'],
        ['function', 'function'],
      ],
    }),
    jobs
      .groupBy('service')
      .aggregate({ n: count(), f: failureRate(), slow: rate(is('run_ms', '>', 1_000)), m: avg('run_ms') }),
    jobs.window('finished_at', 300_000).groupBy().max('run_ms'),
    jobs.orderBy('run_ms', 'desc', ['id', 'asc']).limit(10),
    jobs
      .select({ job: 'id' })
      .recurse((found) =>
        found.join(jobs.select({ child: 'id', job: 'parent' }), { on: 'job' }).select({ job: 'child' }),
      ),
  ]
  for (const { plan } of all) expect(parsePlan(JSON.parse(JSON.stringify(plan)), RELATIONS).plan.op).toBe(plan.op)
})

test('rows are typed from the plan', () => {
  const joined = from('jobs')
    .select({ id: 'id', machine: 'runner', state: 'state' })
    .leftJoin(machines, { on: 'machine', prefix: 'at_' })
  expectTypeOf<RowOf<typeof joined>>().toEqualTypeOf<{
    id: string
    machine: string | null
    state: JobState
    at_cores: number | null
    at_serial: bigint | null
  }>()
  const grouped = joined.groupBy('at_cores').aggregate({ n: count(), most: max('at_serial'), mean: avg('at_cores') })
  expectTypeOf<RowOf<typeof grouped>>().toEqualTypeOf<{
    at_cores: number | null
    n: number
    most: bigint | null
    mean: number | null
  }>()
  const mapped = from('jobs')
    .select('run_ms')
    .map({ twice: plus('run_ms', 'run_ms'), kind: literal('job') })
  expectTypeOf<RowOf<typeof mapped>>().toEqualTypeOf<{ run_ms: number | null; twice: number | null; kind: 'job' }>()
  expect(grouped.plan.op).toBe('groupBy')
})

test('a wrong name or value does not compile', () => {
  const jobs = from('jobs')
  const wrong = () => [
    // @ts-expect-error no such relation
    from('job'),
    // @ts-expect-error no such column
    jobs.where({ sate: 'failed' }),
    // @ts-expect-error no such state
    jobs.where({ state: 'faild' }),
    // @ts-expect-error a text is no number
    jobs.where('run_ms', '>', 'x'),
    // @ts-expect-error no such column in a condition
    jobs.where(is('sate', '=', 'failed')),
    // @ts-expect-error no such column to group by
    jobs.groupBy('servce'),
    // @ts-expect-error no sum of texts
    jobs.groupBy('service').sum('function'),
    // @ts-expect-error no such column of an aggregate
    jobs.groupBy('service').aggregate({ n: sum('runms') }),
    // @ts-expect-error no such column in an expression
    jobs.map({ x: plus('run_ms', 'waitms') }),
    // @ts-expect-error not a column of both
    jobs.join(machines, { on: 'machine' }),
    // @ts-expect-error the column was not selected
    jobs.select('id').where({ state: 'failed' }),
  ]
  expect(wrong).toBeTypeOf('function')
})

test('the builder is small, since it is in the SDK', async () => {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('../../src/protocol/from.ts', import.meta.url))],
    bundle: true,
    minify: true,
    format: 'esm',
    write: false,
  })
  expect(gzipSync(outputFiles[0]?.text ?? '', { level: 9 }).length).toBeLessThan(1_600)
})
