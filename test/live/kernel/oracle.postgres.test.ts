// The kernel says what Postgres says: snapshot and diffs are the view in SQL, at every tick, for any plan and history.
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { pgSql, type PgDatabase } from '../../../src/db/pg.ts'
import { Dataflow, sourcesOf, type Query, type Tick } from '../../../src/live/kernel/dataflow.ts'
import { keyOfRow } from '../../../src/live/kernel/values.ts'
import {
  columnsOfSource,
  hydrationSql,
  planSql,
  readHydration,
  readRows,
  type View,
} from '../../../src/live/plan-sql.ts'
import { parsePlan } from '../../../src/protocol/parse-plan.ts'
import { planText, type Literal, type Plan } from '../../../src/protocol/plan.ts'
import { parseRow, type Row } from '../../../src/protocol/relations.ts'
import { freshDatabase } from '../../support/fresh-database.ts'
import { anyRow, OWN, OWN_RELATIONS, randomPlan } from './random-plans.ts'

let database: PgDatabase
beforeAll(async () => {
  database = pgSql({ connectionString: await freshDatabase(), max: 1 })
  for (const [table, columns] of Object.entries(OWN)) {
    const types = { text: 'text collate "C"', bool: 'bool', int: 'int8', int64: 'int8', float: 'float8', time: 'int8' }
    const definitions = Object.entries(columns).map(([name, type]) => `${name} ${types[type]}`)
    await database.sql(`create table ${table} (${definitions.join(', ')})`)
  }
}, 60_000)
afterAll(() => database.close())

type Table = keyof typeof OWN
type Fields = Record<string, Literal>

const OWN_SELECTS = new Map(Object.keys(OWN).map((table) => [table, `select * from ${table}`]))
const viewAt = (nowMs: number): View => ({ relations: OWN_RELATIONS, namespace: 'default', nowMs, own: OWN_SELECTS })

const TICKS = 4
const PLANS = 12
const RUNS = process.env['CALLPLANE_LONG'] === '1' ? 1_000 : 50

test(`${RUNS * PLANS} plans`, async () => {
  await fc.assert(fc.asyncProperty(fc.gen(), run), { numRuns: RUNS, endOnFailure: true })
})

interface Watched {
  plan: Plan
  query: Query
  restored: Query | null
  /** Snapshot and diffs, as a client adds them up. */
  counts: Map<string, number>
}

async function run(gen: fc.GeneratorValue): Promise<void> {
  const draw = <T>(arbitrary: fc.Arbitrary<T>): T => gen(() => arbitrary)
  const tables: Record<Table, Fields[]> = { a: [], c: [] }
  const flow = new Dataflow({ relations: OWN_RELATIONS, maxRows: 100_000, nowMs: 0 })
  const second = new Dataflow({ relations: OWN_RELATIONS, maxRows: 100_000, nowMs: 0 })
  const watched: Watched[] = []
  let nowMs = 0
  for (let tick = 0; tick < TICKS; tick++) {
    change(tables, draw, (relation, row, diff) => {
      for (const one of [flow, second]) one.apply([{ relation, row, diff }])
    })
    nowMs += draw(fc.integer({ min: 0, max: 200_000_000 }))
    for (const one of [flow, second]) one.advance(nowMs)
    const [ticked, tickedToo] = [flow.flush(), second.flush()]
    await write(tables)
    for (const one of watched) take(one, ticked, tickedToo)
    if (tick % 2 === 0) {
      for (let n = 0; n < PLANS / 2; n++) watched.push(await add(flow, randomPlan(draw), nowMs))
    }
    for (const one of watched) {
      await compare(flow, one, nowMs)
      // Half way through, another dataflow takes over from the state of this one.
      if (tick === 1) one.restored = second.load(one.plan, JSON.parse(JSON.stringify(flow.dump(one.query))))
    }
  }
}

function change(
  tables: Record<Table, Fields[]>,
  draw: <T>(of: fc.Arbitrary<T>) => T,
  say: (relation: Table, row: Row, diff: number) => void,
): void {
  for (const table of ['a', 'c'] as const) {
    const rows = tables[table]
    const say1 = (fields: Fields, diff: number) =>
      say(table, parseRow(OWN_RELATIONS.get(table) ?? new Map(), fields, table), diff)
    const gone = draw(
      fc.subarray(
        rows.map((_, place) => place),
        { maxLength: Math.min(6, rows.length) },
      ),
    )
    for (const place of gone.toReversed()) for (const fields of rows.splice(place, 1)) say1(fields, -1)
    for (const fields of draw(fc.array(rowOr(rows, table), { minLength: 1, maxLength: 9 }))) {
      rows.push(fields)
      say1(fields, 1)
    }
  }
}

/** Now and then a copy of a row that is there. */
const rowOr = (rows: readonly Fields[], table: Table): fc.Arbitrary<Fields> =>
  rows.length === 0 ? anyRow(table) : fc.oneof({ arbitrary: anyRow(table), weight: 2 }, fc.constantFrom(...rows))

async function write(tables: Record<Table, Fields[]>): Promise<void> {
  for (const [table, rows] of Object.entries(tables)) {
    await database.sql(`delete from ${table}`)
    await database.sql(`insert into ${table} select * from jsonb_populate_recordset(null::${table}, $1::jsonb)`, [
      JSON.stringify(rows),
    ])
  }
}

async function add(flow: Dataflow, built: Plan, nowMs: number): Promise<Watched> {
  const { plan } = parsePlan(built, OWN_RELATIONS)
  expect(planText(parsePlan(JSON.parse(planText(plan)), OWN_RELATIONS).plan)).toBe(planText(plan))
  const hydration = new Map<string, [Row, number][]>()
  for (const source of sourcesOf(plan, OWN_RELATIONS)) {
    const { text, params } = hydrationSql(source, viewAt(nowMs))
    hydration.set(source.text, readHydration(await database.sql(text, params), columnsOfSource(source, OWN_RELATIONS)))
  }
  const query = flow.add(plan, hydration)
  const counts = new Map(flow.rows(query).map(([row, count]) => [keyOfRow(row), count]))
  return { plan, query, restored: null, counts }
}

function take({ query, restored, counts }: Watched, ticked: Tick, tickedToo: Tick): void {
  const changes = ticked.changes.get(query) ?? []
  for (const [row, diff] of changes) {
    const key = keyOfRow(row)
    const count = (counts.get(key) ?? 0) + diff
    expect(diff).not.toBe(0)
    if (count === 0) counts.delete(key)
    else counts.set(key, count)
  }
  if (restored !== null) expect(tickedToo.changes.get(restored) ?? []).toEqual(changes)
}

async function compare(flow: Dataflow, { plan, query, counts }: Watched, nowMs: number): Promise<void> {
  expect(query.stopped).toBeNull()
  const { text, params } = planSql(plan, viewAt(nowMs))
  const expected = new Map<string, number>()
  for (const row of readRows(await database.sql(text, params), query.columns)) {
    expected.set(keyOfRow(row), (expected.get(keyOfRow(row)) ?? 0) + 1)
  }
  const told = JSON.stringify(plan)
  expect(sorted(counts), told).toEqual(sorted(expected))
  expect(flow.count(query), told).toBe(flow.rows(query).reduce((sum, [, count]) => sum + count, 0))
  expect(sorted(new Map(flow.rows(query).map(([row, count]) => [keyOfRow(row), count]))), told).toEqual(
    sorted(expected),
  )
}

const sorted = (counts: ReadonlyMap<string, number>): string[] =>
  [...counts].map(([key, count]) => `${key} ×${count}`).toSorted()
