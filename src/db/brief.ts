// A database for a host that must hold no connection while nothing happens.
import type { PgDatabase } from './pg.ts'
import type { Row, Sql, SqlParam } from './sql.ts'

/** Connects when a statement comes, and lets go when none is under way any more. */
export function briefSql(connect: () => Pick<PgDatabase, 'sql' | 'close'>): Sql {
  let database: ReturnType<typeof connect> | null = null
  let running = 0
  return async <R extends Row>(text: string, params?: readonly SqlParam[]) => {
    const used = (database ??= connect())
    running++
    try {
      return await used.sql<R>(text, params)
    } finally {
      if (--running === 0) {
        database = null
        await used.close()
      }
    }
  }
}
