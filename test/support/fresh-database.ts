// An empty database on the real Postgres of this test run.
import { afterAll, inject } from 'vitest'
import { migrate } from '../../src/db/migrate.ts'
import { readSchema } from '../../src/db/migrations.node.ts'
import { pgSql, type PgDatabase } from '../../src/db/pg.ts'
import { createDatabase } from './postgres.ts'

/** Makes one and returns its URL; the first call of a run starts the server. It goes with the server. */
export async function freshDatabase(): Promise<string> {
  const answer = await fetch(inject('postgresStarter'))
  const text = await answer.text()
  if (!answer.ok) throw new Error(text)
  return createDatabase(text)
}

/** One with the schema for all tests of a file, and at most so many connections to it, which end with the last test. */
export async function migratedDatabase({ max = 10 } = {}): Promise<{ url: string; database: PgDatabase }> {
  const url = await freshDatabase()
  const database = pgSql({ connectionString: url, max })
  afterAll(() => database.close())
  await migrate(database.sql, readSchema())
  return { url, database }
}
