// What reached the database and the plane, by their own counters.
import { Client } from 'pg'

/** What a server must be started with to count. */
export const COUNTING = { shared_preload_libraries: 'pg_stat_statements' }

export interface Counts {
  /** Statements that a database has run so far. */
  statements(): Promise<number>
  close(): Promise<void>
}

/**
 * Counts over a connection to another database of the server, so that it does not count itself. By pg_stat_statements, which
 * knows each statement as soon as it has run: in pg_stat_database a session that is idle tells of what it did 10 s later.
 */
export async function countStatements(serverUrl: string, databaseUrl: string): Promise<Counts> {
  const client = new Client({ connectionString: serverUrl })
  await client.connect()
  await client.query('create extension if not exists pg_stat_statements')
  const database = new URL(databaseUrl).pathname.slice(1)
  return {
    async statements() {
      const { rows } = await client.query<{ count: string }>(
        'select coalesce(sum(calls), 0) as count from pg_stat_statements join pg_database on oid = dbid where datname = $1',
        [database],
      )
      return Number(rows[0]?.count)
    },
    close: () => client.end(),
  }
}

/** Requests that a plane on Node has answered, but those for this page. */
export async function countRequests(url: string, key: string): Promise<number> {
  const page = await (await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${key}` } })).text()
  let count = 0
  for (const [, route, value] of page.matchAll(/^callplane_requests_total\{route="([^"]*)"[^}]*\} (\d+)$/gm)) {
    if (!route?.endsWith('/metrics')) count += Number(value)
  }
  return count
}
