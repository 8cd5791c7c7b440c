// A database comes to the schema of the build from nothing, from an older one, and from a run that was cut short.
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { checkSchema, migrate, SCHEMA_VERSION, schemaVersion, type Migration } from '../../src/db/migrate.ts'
import { readMigrations, readSchema } from '../../src/db/migrations.node.ts'
import { pgSql } from '../../src/db/pg.ts'
import { openEmbedded, type EmbeddedDatabase } from '../../src/db/pglite.node.ts'
import { SqlError, type Sql } from '../../src/db/sql.ts'
import { freshDatabase } from '../support/fresh-database.ts'

let embedded: EmbeddedDatabase
let sql: Sql
beforeAll(async () => {
  embedded = await openEmbedded(null)
  sql = embedded.sql
})
afterAll(() => embedded.close())
beforeEach(() => sql('drop schema if exists callplane cascade'))

const SCHEMA = `
  create schema if not exists callplane; -- all of it
  create table if not exists callplane.things (id int8 primary key, name text, colour text);
  create index if not exists things_by_name on callplane.things (name);`
const MIGRATIONS: Migration[] = [
  { version: 3, name: '003-colour.sql', text: 'alter table callplane.things add column if not exists colour text' },
  { version: 2, name: '002-name.sql', text: 'alter table callplane.things add column if not exists name text;' },
]
const OLD_SCHEMA =
  'create schema if not exists callplane; create table if not exists callplane.things (id int8 primary key)'

async function columns(of: Sql = sql): Promise<unknown[]> {
  const rows = await of(`select column_name as name from information_schema.columns
    where table_schema = 'callplane' and table_name = 'things' order by ordinal_position`)
  return rows.map(({ name }) => name)
}

describe('migrate', () => {
  test('makes a fresh database with the schema, and does nothing the second time', async () => {
    const step = { schema: SCHEMA, migrations: MIGRATIONS, target: 3 }
    expect(await schemaVersion(sql)).toBe(0)
    expect(await migrate(sql, step)).toStrictEqual({ from: 0, to: 3, applied: ['schema.sql'] })
    expect(await columns()).toStrictEqual(['id', 'name', 'colour'])
    expect(await migrate(sql, step)).toStrictEqual({ from: 3, to: 3, applied: [] })
    expect(await sql('select version from callplane.schema_version')).toStrictEqual([{ version: 3 }])
  })

  test('takes an older database through the migrations that it lacks, in order', async () => {
    await migrate(sql, { schema: OLD_SCHEMA, migrations: [], target: 1 })
    const steps = { schema: 'not for this one', migrations: MIGRATIONS, target: 3 }
    expect(await migrate(sql, steps)).toStrictEqual({ from: 1, to: 3, applied: ['002-name.sql', '003-colour.sql'] })
    expect(await columns()).toStrictEqual(['id', 'name', 'colour'])
    expect(await sql('select version from callplane.schema_version order by 1')).toStrictEqual([
      { version: 1 },
      { version: 2 },
      { version: 3 },
    ])
  })

  test('finishes a run that ended after any statement', async () => {
    const statements = 6
    for (let allowed = 0; allowed <= statements; allowed++) {
      await sql('drop schema if exists callplane cascade')
      let left = allowed
      const dying: Sql = (text, params) => {
        if (!text.startsWith('select') && left-- <= 0) throw new Error('killed')
        return sql(text, params)
      }
      const cut = migrate(dying, { schema: SCHEMA, migrations: [], target: 1 })
      await (allowed < statements ? expect(cut).rejects.toThrow('killed') : cut)
      await migrate(sql, { schema: SCHEMA, migrations: [], target: 1 })
      expect(await columns()).toStrictEqual(['id', 'name', 'colour'])
      expect(await schemaVersion(sql)).toBe(1)
    }
  })

  test('refuses a database of a newer build, and a gap in the migrations', async () => {
    await migrate(sql, { schema: OLD_SCHEMA, migrations: [], target: 1 })
    await expect(migrate(sql, { schema: SCHEMA, migrations: MIGRATIONS.slice(0, 1), target: 3 })).rejects.toThrow(
      'one migration to version 2, and there are 0',
    )
    await sql('insert into callplane.schema_version (version) values (7)')
    await expect(migrate(sql, { schema: SCHEMA, migrations: [], target: 3 })).rejects.toThrow('deploy a newer build')
  })

  test('runs a statement again that lost a race or its answer, and no other', async () => {
    for (const code of ['23505', '42P07', '42P06', '40001', null]) {
      const { failing, texts } = failOnce(code)
      await migrate(failing, { schema: SCHEMA, migrations: [], target: 1 })
      expect(texts.slice(1, 3)).toStrictEqual([
        'create schema if not exists callplane',
        'create schema if not exists callplane',
      ])
      await sql('drop schema callplane cascade')
    }
    const { failing } = failOnce('42501')
    await expect(migrate(failing, { schema: SCHEMA, migrations: [], target: 1 })).rejects.toMatchObject({
      code: '42501',
    })
  })

  test('that runs eight times at once on a real Postgres succeeds eight times', async () => {
    const { sql: many, close } = pgSql({ connectionString: await freshDatabase(), max: 8 })
    onTestFinished(close)
    const fresh = { schema: readSchema().schema, migrations: [], target: 1 }
    await Promise.all(Array.from({ length: 8 }, () => migrate(many, fresh)))
    expect(await many('select version from callplane.schema_version')).toStrictEqual([{ version: 1 }])

    await many('create table callplane.things (id int8 primary key)')
    await Promise.all(Array.from({ length: 8 }, () => migrate(many, { ...fresh, migrations: MIGRATIONS, target: 3 })))
    expect(await columns(many)).toStrictEqual(['id', 'name', 'colour'])
  })
})

/** Fails the first statement that is no select, with `code`. */
function failOnce(code: string | null): { failing: Sql; texts: string[] } {
  const texts: string[] = []
  const failing: Sql = async (text, params) => {
    texts.push(text)
    if (texts.length === 2) throw new SqlError('lost', code)
    return sql(text, params)
  }
  return { failing, texts }
}

describe('checkSchema', () => {
  const isAt = async (version: number): Promise<void> => {
    await migrate(sql, { schema: SCHEMA, migrations: [], target: version })
  }

  test('passes the version of this build', async () => {
    await isAt(SCHEMA_VERSION)
    await checkSchema(sql)
  })

  test('says what to do about an empty database', async () => {
    await expect(checkSchema(sql)).rejects.toMatchObject({
      name: 'SchemaError',
      message: `the database schema is at version 0, this build needs ${SCHEMA_VERSION}: run "npm run migrate"`,
    })
    await sql('create schema callplane')
    await expect(checkSchema(sql)).rejects.toThrow('at version 0')
    // CockroachDB may miss the schema first.
    const cockroach: Sql = () => Promise.reject(new SqlError('unknown schema "callplane"', '3F000'))
    await expect(checkSchema(cockroach)).rejects.toThrow('at version 0')
  })

  test('says what to do about a newer one', async () => {
    await isAt(SCHEMA_VERSION + 1)
    await expect(checkSchema(sql)).rejects.toThrow(
      `at version ${SCHEMA_VERSION + 1}, this build knows ${SCHEMA_VERSION} at most: deploy a newer build`,
    )
  })
})

describe('the files of this build', () => {
  test('make a database that checkSchema passes, twice', async () => {
    for (const applied of [['schema.sql'], []]) {
      expect((await migrate(sql, readSchema())).applied).toStrictEqual(applied)
      await checkSchema(sql)
    }
  })

  test('bring the first version to the very schema that a new database gets', async () => {
    const everything = async () => [
      await sql(`select table_name, column_name, data_type, is_nullable, column_default
        from information_schema.columns where table_schema = 'callplane' order by 1, 2`),
      await sql(`select conrelid::regclass::text as of, conname, pg_get_constraintdef(oid) as is
        from pg_constraint where connamespace = 'callplane'::regnamespace order by 1, 2`),
      await sql(`select indexname, indexdef from pg_indexes where schemaname = 'callplane' order by 1`),
    ]
    await migrate(sql, readSchema())
    const fresh = await everything()
    await sql('drop schema callplane cascade')
    const first = readFileSync(new URL('./schema-1.sql', import.meta.url), 'utf8')
    await migrate(sql, { schema: first, migrations: [], target: 1 })
    expect(await everything()).not.toStrictEqual(fresh)
    const { migrations } = readSchema()
    await migrate(sql, { schema: 'not for this one', migrations })
    expect(await everything()).toStrictEqual(fresh)
    // A run that was cut short is run again from its first statement.
    await sql('delete from callplane.schema_version where version > 1')
    await migrate(sql, { schema: 'not for this one', migrations })
    expect(await everything()).toStrictEqual(fresh)
  })

  // A database that has taken one never takes it again: what a later build needs is a file of its own.
  test.each([
    ['002-life-of-a-job.sql', '215ae9e1c71384bc9b482827458a9bec8435ed51c8b020357a6830b9e7b595fa'],
    ['003-events.sql', '28400ffe2cd23118c4b01dd914440094a2fbc6e7ffc35b366c97f8f00b73e96f'],
    ['004-peers-and-redrives.sql', 'c26615513d998c26b1fd942572c3c4cbdc246c6f9313c020db5a746d527bd600'],
    ['005-peers-share-queries.sql', 'f7e49432b52274893a261d8cfae18829be6e953317450d89d8c7faf3ec3d4fb0'],
    ['006-memory-of-peers.sql', '267a6b752e665b0aba615f21648c980fcebc4c086441de1b8d9b95b158fb9a7c'],
    ['007-condensed-commands.sql', '8a20bcecc229ed8baa4afcdad38d29c30ce96276ab2451f0922d3df53234dee0'],
  ])('%s stays as it was when databases took it', (name, digest) => {
    const { migrations } = readSchema()
    const text = migrations.find((one) => one.name === name)?.text ?? ''
    expect(createHash('sha256').update(text).digest('hex')).toBe(digest)
  })

  test('bring a database of the version before to the same', async () => {
    const { schema, migrations } = readSchema()
    const first = readFileSync(new URL('./schema-1.sql', import.meta.url), 'utf8')
    await migrate(sql, { schema: first, migrations: [], target: 1 })
    await migrate(sql, { schema, migrations: migrations.slice(0, -1), target: SCHEMA_VERSION - 1 })
    await sql(`insert into callplane.heads (namespace, watched_from) values ('n', now())`)
    expect(await migrate(sql, readSchema())).toMatchObject({ from: SCHEMA_VERSION - 1, to: SCHEMA_VERSION })
    expect(await sql('select condensed_tick from callplane.heads')).toStrictEqual([{ condensed_tick: 0 }])
  })

  test('are read in order, and must be named by their number', () => {
    const folder = mkdtempSync(join(tmpdir(), 'callplane-migrations-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    const url = pathToFileURL(`${folder}/`)
    expect(readMigrations(new URL('nowhere/', url))).toStrictEqual([])
    writeFileSync(join(folder, '010-b.sql'), 'select 2')
    writeFileSync(join(folder, '002-a.sql'), 'select 1')
    expect(readMigrations(url)).toStrictEqual([
      { version: 2, name: '002-a.sql', text: 'select 1' },
      { version: 10, name: '010-b.sql', text: 'select 2' },
    ])
    writeFileSync(join(folder, '11-c.sql'), '')
    expect(() => readMigrations(url)).toThrow('11-c.sql')
  })
})
