// Brings a database to the schema that this build needs, and tells when it is not there.
import { splitStatements } from './split-statements.ts'
import { isTransient, SqlError, waitFor, type Sql } from './sql.ts'

/** Raised by each migration, together with `schema.sql`, which is always the newest. */
export const SCHEMA_VERSION = 7

/** A file `NNN-name.sql`: it takes a database from version NNN - 1 to NNN. */
export interface Migration {
  version: number
  name: string
  text: string
}

export interface Migrated {
  from: number
  to: number
  /** The names of what was run; empty when there was nothing to do. */
  applied: string[]
}

/** The database has another schema than this build needs. */
export class SchemaError extends Error {
  override readonly name = 'SchemaError'
}

/** Version of the schema in the database; 0 when there is none. */
export async function schemaVersion(sql: Sql): Promise<number> {
  try {
    const [row] = await sql<{ version: number | null }>(
      /* sql */ `select max(version) as version from callplane.schema_version`,
    )
    return row?.version ?? 0
  } catch (error) {
    if (error instanceof SqlError && (error.code === '42P01' || error.code === '3F000')) return 0
    throw error
  }
}

/**
 * Throws a {@link SchemaError} that says what to do, unless the database has the schema of this build. With
 * `isNewerFine`, a newer one will do: migrations leave what the build before them needs.
 */
export async function checkSchema(sql: Sql, { isNewerFine = false } = {}): Promise<void> {
  const version = await schemaVersion(sql)
  if (version < SCHEMA_VERSION) {
    throw new SchemaError(
      `the database schema is at version ${version}, this build needs ${SCHEMA_VERSION}: run "npm run migrate"`,
    )
  }
  if (version > SCHEMA_VERSION && !isNewerFine) throw new SchemaError(isNewer(version, SCHEMA_VERSION))
}

function isNewer(version: number, needed: number): string {
  return `the database schema is at version ${version}, this build knows ${needed} at most: deploy a newer build`
}

/**
 * Makes a fresh database with `schema`, or applies the migrations that an older one lacks, and records each version.
 *
 * There is no transaction around it: every statement commits alone and can be run again, so that a run cut short is
 * finished by the next, and two at once both arrive. `target` is for tests.
 */
export async function migrate(
  sql: Sql,
  {
    schema,
    migrations,
    target = SCHEMA_VERSION,
  }: { schema: string; migrations: readonly Migration[]; target?: number },
): Promise<Migrated> {
  const from = await schemaVersion(sql)
  if (from > target) throw new SchemaError(isNewer(from, target))
  const steps = from === 0 ? [{ version: target, name: 'schema.sql', text: schema }] : missing(migrations, from, target)
  for (const step of steps) await apply(sql, step)
  return { from, to: target, applied: steps.map(({ name }) => name) }
}

function missing(migrations: readonly Migration[], from: number, target: number): Migration[] {
  const versions = Array.from({ length: target - from }, (_, i) => from + 1 + i)
  return versions.map((version) => {
    const found = migrations.filter((migration) => migration.version === version)
    if (found.length === 1 && found[0]) return found[0]
    throw new SchemaError(`there must be one migration to version ${version}, and there are ${found.length}`)
  })
}

async function apply(sql: Sql, { version, text }: Migration): Promise<void> {
  for (const statement of [...splitStatements(text), ...VERSION_TABLE]) await untilDone(() => sql(statement))
  await untilDone(() =>
    sql(/* sql */ `insert into callplane.schema_version (version) values ($1) on conflict (version) do nothing`, [
      version,
    ]),
  )
}

const VERSION_TABLE = [
  /* sql */ `create schema if not exists callplane`,
  /* sql */ `create table if not exists callplane.schema_version (
    version int8 primary key,
    applied_at timestamptz not null default now()
  )`,
]

// `if not exists` looks and then creates: of two at once, one fails on the catalogue's unique index or on the name.
const LOST_RACES = new Set<string | null>(['23505', '42P06', '42P07'])
/** A constraint of the name is there: adding one knows no `if not exists`, so that this is what running it again says. */
const ALREADY_THERE = '42710'

/** Runs a statement that can be run again until it neither lost a race nor an answer. */
async function untilDone(run: () => Promise<unknown>): Promise<void> {
  for (let failures = 0; ; failures++) {
    try {
      await run()
      return
    } catch (error) {
      if (error instanceof SqlError && error.code === ALREADY_THERE) return
      if (failures === 10 || !isWorthRepeating(error)) throw error
      await waitFor(Math.random() * 50 * (failures + 1))
    }
  }
}

function isWorthRepeating(error: unknown): boolean {
  if (!(error instanceof SqlError)) return false
  // Two sessions that change one row of the catalogue, which Postgres calls an internal error.
  const isCatalogueRace = error.code === 'XX000' && /concurrently/.test(error.message)
  return LOST_RACES.has(error.code) || isCatalogueRace || isTransient(error)
}
