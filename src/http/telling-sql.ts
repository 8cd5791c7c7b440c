// Statements that tell when they have written events, which somebody may watch.
import type { Row, Sql, SqlParam } from '../db/sql.ts'

/** The same, and tells of each statement that has written events, with its parameters. */
export function tellingSql(sql: Sql, told: (params: readonly SqlParam[]) => void): Sql {
  const writes = new Map<string, boolean>()
  return async <R extends Row>(text: string, params?: readonly SqlParam[]) => {
    const rows = await sql<R>(text, params)
    let isWriting = writes.get(text)
    if (isWriting === undefined) writes.set(text, (isWriting = text.includes('insert into callplane.events')))
    if (isWriting) told(params ?? [])
    return rows
  }
}
