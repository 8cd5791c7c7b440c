// The shard of a row is the same in SQL as here, whatever its values are.
import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { pgSql, type PgDatabase } from '../../../src/db/pg.ts'
import { checkOf } from '../../../src/live/kernel/evaluate.ts'
import { hashOf } from '../../../src/live/kernel/shard-hash.ts'
import { sourceOf } from '../../../src/live/kernel/source.ts'
import { keyOfRow } from '../../../src/live/kernel/values.ts'
import { columnsOfSource, hydrationSql, readHydration } from '../../../src/live/plan-sql.ts'
import type { Condition } from '../../../src/protocol/plan.ts'
import { parseRow, type Columns } from '../../../src/protocol/relations.ts'
import { freshDatabase } from '../../support/fresh-database.ts'
import { anyRow, OWN_RELATIONS } from './random-plans.ts'

let database: PgDatabase
beforeAll(async () => {
  database = pgSql({ connectionString: await freshDatabase(), max: 1 })
  await database.sql('create table a (id int8, k text, n int8, f float8, big int8, b bool, t int8)')
})
afterAll(() => database.close())

test('the hash is the beginning of the md5 of a text of any length', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (text) => {
      expect(hashOf(text)).toBe(createHash('md5').update(text).digest().readUInt32BE(0))
    }),
    { numRuns: 1_000 },
  )
})

const COLUMNS: Columns = OWN_RELATIONS.get('a') ?? new Map()
const EXACT = [...COLUMNS.keys()].filter((name) => name !== 'f')

test('a table gives each of its rows to the shard in which it is here, and to no other', async () => {
  const anyBy = fc.shuffledSubarray(EXACT, { minLength: 1, maxLength: 3 })
  const anyRows = fc.array(anyRow('a'), { minLength: 1, maxLength: 30 })
  const run = async (rows: object[], by: string[], of: number): Promise<void> => {
    await database.sql('delete from a')
    await database.sql('insert into a select * from jsonb_populate_recordset(null::a, $1::jsonb)', [
      JSON.stringify(rows),
    ])
    const parts = by.map((name) => ({ op: 'column' as const, name }))
    const truncated = { op: 'truncate' as const, to: 'day' as const, of: { op: 'column' as const, name: 't' } }
    for (let at = 0; at < of; at++) {
      const condition: Condition = { op: 'shard', by: [...parts, truncated], of, at }
      const source = sourceOf('a', EXACT, [condition], undefined)
      const own = new Map([['a', 'select id, k collate "C" as k, n, f, big, b, t from a']])
      const { text, params } = hydrationSql(source, { relations: OWN_RELATIONS, namespace: 'n', nowMs: 0, own })
      const read = readHydration(await database.sql(text, params), columnsOfSource(source, OWN_RELATIONS))
      const check = checkOf(condition, COLUMNS)
      const places = EXACT.map((name) => [...COLUMNS.keys()].indexOf(name))
      const here = rows.map((row) => parseRow(COLUMNS, row, 'a')).filter((row) => check(row) === true)
      const expected = here.map((row) => keyOfRow(places.map((place) => row[place] ?? null)))
      const told = read.flatMap(([row, count]) => Array.from({ length: count }, () => keyOfRow(row)))
      expect(told.toSorted()).toEqual(expected.toSorted())
    }
  }
  await fc.assert(fc.asyncProperty(anyRows, anyBy, fc.integer({ min: 1, max: 7 }), run), { numRuns: 40 })
})
