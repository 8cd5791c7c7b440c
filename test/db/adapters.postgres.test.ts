// Every adapter is the same function: what goes in, what comes out, and how it fails.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Pool } from 'pg'
import { neonSql } from '../../src/db/neon.ts'
import { startNeonEndpoint } from '../../src/db/neon-endpoint.node.ts'
import { pgSql } from '../../src/db/pg.ts'
import { openEmbedded } from '../../src/db/pglite.node.ts'
import { isOutcomeUnknown, isTransient, SqlError, type Sql, type SqlParam } from '../../src/db/sql.ts'
import { freshDatabase } from '../support/fresh-database.ts'

interface Opened {
  sql: Sql
  close: () => Promise<void>
}

const ADAPTERS: Record<string, () => Promise<Opened>> = {
  PGlite: () => openEmbedded(null),
  'pg on Postgres': async () => pgSql({ connectionString: await freshDatabase() }),
  'the Neon driver on PGlite': async () => {
    const { engine, close } = await openEmbedded(null)
    const endpoint = await startNeonEndpoint({ backend: engine })
    const sql = neonSql(endpoint.connectionString, { fetchEndpoint: endpoint.url })
    return { sql, close: () => endpoint.close().then(close) }
  },
  'the Neon driver on Postgres': async () => {
    const pool = new Pool({ connectionString: await freshDatabase() })
    const endpoint = await startNeonEndpoint({ backend: pool })
    const sql = neonSql(endpoint.connectionString, { fetchEndpoint: endpoint.url })
    return { sql, close: () => endpoint.close().then(() => pool.end()) }
  },
}

const MEBIBYTE = new Uint8Array(1024 * 1024).map((_, i) => (i * 31 + (i >> 8)) % 256)
const AWKWARD = [
  '',
  ' ',
  `it's "quoted"`,
  'back\\slash\\',
  '{a,b}',
  'NULL',
  'null',
  'ünïcödé 😀 \u2028',
  'tab\tline\n',
  "$1 ; --'",
]

// [type, parameter, what comes back when it differs]
const ROUND_TRIPS: [type: string, param: SqlParam, back?: unknown][] = [
  ['int8', 0],
  ['int8', 2 ** 31],
  ['int8', Number.MAX_SAFE_INTEGER],
  ['int8', Number.MIN_SAFE_INTEGER],
  ['int8', 12n, 12],
  ['int8', '7', 7],
  ['int8', null],
  ['float8', 0.1],
  ['float8', 1e300],
  ['float8', -0],
  ['float8', NaN],
  ['float8', -Infinity],
  ['bool', true],
  ['bool', false],
  ['bool', null],
  ['uuid', '0190b5c8-0000-7000-8000-0123456789ab'],
  ['bytea', new Uint8Array()],
  ['bytea', Uint8Array.from({ length: 256 }, (_, i) => i)],
  ['bytea', MEBIBYTE],
  ['bytea', null],
  ['jsonb', '{"a": [1, null, "x"], "b": {"c": true}}', { a: [1, null, 'x'], b: { c: true } }],
  ['json', '"text"', 'text'],
  ['jsonb', 'null', null],
  ['timestamptz', '2026-11-21 18:00:00.123456+00', '2026-11-21 18:00:00.123456+00'],
  ['int8[]', [1, null, 2 ** 40]],
  ['int8[]', []],
  ['int8[]', [5n], [5]],
  ['float8[]', [0.5, null, NaN]],
  ['bool[]', [true, false, null]],
  ['uuid[]', ['0190b5c8-0000-7000-8000-0123456789ab', null]],
  ['bytea[]', [new Uint8Array([0, 255]), null, new Uint8Array(), new TextEncoder().encode('"\\,{}')]],
  ['bytea[]', [MEBIBYTE, MEBIBYTE]],
  ['bytea[]', []],
  ['text[]', [...AWKWARD, null]],
  ['text[]', []],
  ['text[]', [null]],
  ...AWKWARD.map((text): [string, SqlParam] => ['text', text]),
]

describe.each(Object.entries(ADAPTERS))('%s', (_name, open) => {
  let opened: Opened
  let sql: Sql

  beforeAll(async () => {
    opened = await open()
    sql = (text, params) => opened.sql(text, params)
  })
  afterAll(() => opened.close())

  test('gives back every value as it was given', async () => {
    for (const [type, param, back = param] of ROUND_TRIPS) {
      const [row] = await sql(`select $1::${type} as value`, [param])
      expect(row?.['value'], `${type} ${String(param).slice(0, 40)}`).toStrictEqual(back)
    }
  })

  test('gives bytes as a plain Uint8Array over memory of its own', async () => {
    const [row] = await sql<{ bytes: Uint8Array }>(`select '\\x0102'::bytea as bytes`)
    expect(row?.bytes.constructor).toBe(Uint8Array)
    expect(row?.bytes.buffer.byteLength).toBe(2)
  })

  test('gives narrow integers, counts and names as numbers and text', async () => {
    const rows = await sql(
      `select 1::int2 as a, 2::int4 as b, count(*) as c, 'x'::name as d, 1.5::float4 as e, 'v'::varchar as f`,
    )
    expect(rows).toStrictEqual([{ a: 1, b: 2, c: 1, d: 'x', e: 1.5, f: 'v' }])
  })

  test('takes parallel arrays apart', async () => {
    const rows = await sql(
      'select * from unnest($1::text[], $2::bytea[], $3::int8[]) as t (name, bytes, n) order by n',
      [
        ['a', `b'"\\`, null],
        [new Uint8Array([1]), null, new Uint8Array([2, 3])],
        [1, 2, 2 ** 33],
      ],
    )
    expect(rows).toStrictEqual([
      { name: 'a', bytes: new Uint8Array([1]), n: 1 },
      { name: `b'"\\`, bytes: null, n: 2 },
      { name: null, bytes: new Uint8Array([2, 3]), n: 2 ** 33 },
    ])
  })

  test('gives no rows as an empty array, and every row of many', async () => {
    expect(await sql('select 1 as one where false')).toStrictEqual([])
    expect(await sql('create table if not exists many (n int8)')).toStrictEqual([])
    const inserted = await sql('insert into many select * from generate_series(1::int8, $1::int8) returning n', [5_000])
    expect(inserted.length).toBe(5_000)
  })

  test('refuses an integer that a number cannot hold', async () => {
    await expect(sql(`select 9007199254740993::int8 as n`)).rejects.toThrow(RangeError)
  })

  test('refuses two statements in one text, with and without parameters', async () => {
    for (const params of [[], ['x']]) {
      await expect(sql(`select 1 as a; select 2 as b`, params)).rejects.toMatchObject({ code: '42601' })
    }
  })

  test('names the SQLSTATE and the constraint of what the database refused', async () => {
    await sql('create table if not exists refusals (id int8 constraint refusals_are_unique primary key)')
    await sql('insert into refusals values (1)')
    const error = await sql('insert into refusals values (1)').catch((error: unknown) => error)
    expect(error).toBeInstanceOf(SqlError)
    expect(error).toMatchObject({ name: 'SqlError', code: '23505', constraint: 'refusals_are_unique' })
    expect((error as SqlError).message).toContain('duplicate key') // toBeInstanceOf above.
    expect((error as SqlError).cause).toBeInstanceOf(Error) // toBeInstanceOf above.
    expect(isOutcomeUnknown(error)).toBe(false)
    expect(isTransient(error)).toBe(false)
    await expect(sql('select nothing from nowhere')).rejects.toMatchObject({ code: '42P01' })
    await expect(sql('select $1::int8 as n', ['x'])).rejects.toMatchObject({ code: '22P02' })
    await expect(sql('select $1::text as t', ['a\0b'])).rejects.toMatchObject({
      code: expect.stringMatching(/^22021$|^22P05$/),
    })
  })

  test('works on after an error', async () => {
    await expect(sql('selekt')).rejects.toMatchObject({ code: '42601' })
    expect(await sql('select 1 as one')).toStrictEqual([{ one: 1 }])
  })

  test('refuses a parameter that is no value, before anything is sent', async () => {
    const hostile = [undefined, {}, new Date(0)] as unknown as SqlParam[] // What the types forbid.
    for (const param of hostile) await expect(sql('select $1::text as t', [param])).rejects.toThrow(TypeError)
  })

  test('runs many statements at once', async () => {
    const rows = await Promise.all(Array.from({ length: 60 }, (_, n) => sql('select $1::int8 as n', [n])))
    expect(rows.map(([row]) => row?.['n'])).toStrictEqual(Array.from({ length: 60 }, (_, n) => n))
  })

  test('commits each statement by itself', async () => {
    await sql('create table if not exists commits (n int8)')
    await sql('insert into commits values (1)')
    await expect(sql('insert into commits select 1 / (n - 1) from commits')).rejects.toMatchObject({ code: '22012' })
    expect(await sql('select n from commits')).toStrictEqual([{ n: 1 }])
  })
})
