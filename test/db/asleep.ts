// What a statement of a test waits for before it is disturbed: that another is running on the server.
import { expect } from 'vitest'
import type { Sql } from '../../src/db/sql.ts'

/** Resolves once a session of this database is in `pg_sleep`. */
export async function untilAsleep(sql: Sql): Promise<void> {
  const sleeping = `select pid from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()`
  await expect.poll(async () => (await sql(sleeping)).length).toBe(1)
}
