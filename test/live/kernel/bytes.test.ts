// What a query says of its memory, beside what the heap grows by: about the same, whatever its operators are.
import { expect, test } from 'vitest'
import { Dataflow, sourcesOf, type Query } from '../../../src/live/kernel/dataflow.ts'
import type { Source } from '../../../src/live/kernel/source.ts'
import { avg, count, failureRate, median, p95 } from '../../../src/protocol/aggregation.ts'
import { from } from '../../../src/protocol/from.ts'
import { parsePlan } from '../../../src/protocol/parse-plan.ts'
import type { Plan } from '../../../src/protocol/plan.ts'
import { RELATIONS, type ColumnType, type Row, type Value } from '../../../src/protocol/relations.ts'
import { memoryBytes } from '../memory.ts'

const ROWS = 20_000
const NOW_MS = 1_800_000_000_000
const SLACK = 1.5

/** So many services, functions and runners there are. */
const DISTINCT: Record<string, number> = {
  service: 10,
  function: 2_000,
  state: 6,
  runner: 500,
  'runners.id': 500,
  host: 50,
}

function valueOf(column: string, type: ColumnType, n: number): Value {
  const which = n % (DISTINCT[column] ?? ROWS)
  if (type === 'text') return `${column.replace('runners.id', 'runner').padEnd(24, '-')}${which}`
  return type === 'time' ? NOW_MS - which : which
}

/** Rows as a database gives them: nothing of theirs is anybody else's. */
function rowsOf({ relation, columns }: Source): [Row, number][] {
  const types = RELATIONS.get(relation)
  const rows = Array.from({ length: relation === 'runners' ? 500 : ROWS }, (_, n) =>
    columns.map((name) =>
      valueOf(relation === 'runners' && name === 'id' ? 'runners.id' : name, types?.get(name) ?? 'text', n),
    ),
  )
  return (JSON.parse(JSON.stringify(rows)) as Row[]).map((row) => [row, 1]) // as written there
}

const jobs = from('jobs')
const PLANS: Record<string, Plan> = {
  'rows as they are': jobs.select('id', 'service', 'function', 'created_at').plan,
  'a set': jobs.select('function', 'runner').distinct().groupBy('runner').count().plan,
  'large groups': jobs.groupBy('service').aggregate({ middle: median('run_ms'), slow: p95('run_ms') }).plan,
  'small groups': jobs.groupBy('id').count().plan,
  'groups by two columns': jobs
    .groupBy('function', 'runner')
    .aggregate({ n: count(), mean: avg('run_ms'), failing: failureRate() }).plan,
  'the first of all': jobs.select('id', 'created_at').orderBy('created_at').limit(10).plan,
  'a window': jobs.window('created_at', ROWS).groupBy('service').count().plan,
  'a join': jobs.select('id', 'runner').join(from('runners').select('id', 'host'), { on: [['runner', 'id']] }).plan,
}

/** A dataflow that runs the plan over rows of its own, and lets go of all else. */
function run(plan: Plan): { flow: Dataflow; query: Query } {
  const flow = new Dataflow({ relations: RELATIONS, maxRows: 1e6, nowMs: NOW_MS })
  const sources = sourcesOf(plan, RELATIONS)
  return { flow, query: flow.add(plan, new Map(sources.map((source) => [source.text, rowsOf(source)]))) }
}

test.each(Object.entries(PLANS))('%s', async (_, built) => {
  const { plan } = parsePlan(built, RELATIONS)
  const runs = [run(plan)]
  // What comes once is none of its memory; nor is what else the process does meanwhile, in the median of some more.
  const grown: number[] = []
  for (let n = 0; n < 3; n++) {
    const before = await memoryBytes()
    runs.push(run(plan))
    grown.push((await memoryBytes()) - before)
  }
  const typical = grown.toSorted((a, b) => a - b)[1] ?? 0
  expect(bytesOf(runs)).toBeGreaterThan(typical / SLACK)
  expect(bytesOf(runs)).toBeLessThan(typical * SLACK)
})

const bytesOf = ([first]: ReturnType<typeof run>[]) => first?.flow.bytes(first.query) ?? 0

test('what goes takes its memory along', () => {
  const { plan } = parsePlan(PLANS['small groups'], RELATIONS)
  const { flow, query } = run(plan)
  const before = flow.bytes(query)
  const columns = [...(RELATIONS.get('jobs')?.keys() ?? [])]
  for (let n = 0; n < (ROWS * 3) / 4; n++) {
    const row = columns.map((name) => (name === 'id' ? valueOf('id', 'text', n) : null))
    flow.apply([{ relation: 'jobs', row, diff: -1 }])
  }
  flow.flush()
  expect(flow.bytes(query) / before).toBeCloseTo(1 / 4, 1)
})
