// Arrays in binary form say what their texts say.
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { encodeBinaryArray, type ElementType } from '../../src/db/pg-arrays.ts'
import { pgSql, type PgDatabase } from '../../src/db/pg.ts'
import type { SqlScalar } from '../../src/db/sql.ts'
import { freshDatabase } from '../support/fresh-database.ts'

let database: PgDatabase
beforeAll(async () => {
  database = pgSql({ connectionString: await freshDatabase(), max: 1 })
}, 60_000)
afterAll(() => database.close())

// PostgreSQL's text holds no zero character.
const aText = fc.string({ unit: 'binary' }).filter((text) => !text.includes('\0') && text.isWellFormed())
const VALUES: Record<ElementType, fc.Arbitrary<SqlScalar>> = {
  bool: fc.boolean(),
  bytea: fc.uint8Array({ maxLength: 100 }),
  int8: fc.oneof(fc.maxSafeInteger(), fc.integer(), fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })),
  text: fc.oneof(aText, fc.constantFrom('', 'null', '{', '"', '\\', ',', 'ä€😀')),
  uuid: fc.uuid(),
}

describe.each(Object.entries(VALUES))('%s', (type, value) => {
  test('an array arrives as it is, nulls and none included', async () => {
    const lists = fc.array(fc.option(value), { maxLength: 20 })
    await fc.assert(
      fc.asyncProperty(lists, async (values) => {
        const elements = `select v::text from unnest($1::${type}[]) with ordinality as u (v, at) order by at`
        // Without the cast at the parameter itself, the adapter knows no type and sends text.
        const asText = elements.replace(`$1::${type}[]`, `cast($1 as ${type}[])`)
        expect(await database.sql(elements, [values])).toEqual(await database.sql(asText, [values]))
      }),
      { numRuns: 100 },
    )
  })
})

test.each<[ElementType, SqlScalar]>([
  ['uuid', 'not a uuid'],
  ['uuid', '00000000-0000-0000-0000-00000000000g'],
  ['uuid', '0-00000000000-0000-0000-000000000000'],
  ['uuid', '000000000000000000000000000000000000'],
  ['int8', 1.5],
  ['int8', '1'],
  ['text', 1],
  ['bool', 'true'],
  ['bytea', 'text'],
])('a %s[] refuses %s', (type, value) => {
  expect(() => encodeBinaryArray([value], type)).toThrow(TypeError)
})
