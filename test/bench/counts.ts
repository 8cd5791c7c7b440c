// What reached the database and the plane, by their own counters.
import { Client } from 'pg'

export interface Counts {
  /** Transactions of a database so far; each statement of ours is one. */
  statements(): Promise<number>
  close(): Promise<void>
}

/** Counts over a connection to another database of the server, so that it does not count itself. */
export async function countStatements(serverUrl: string, databaseUrl: string): Promise<Counts> {
  const client = new Client({ connectionString: serverUrl })
  await client.connect()
  const database = new URL(databaseUrl).pathname.slice(1)
  return {
    async statements() {
      // A session tells the others what it did when it is idle for a second at the latest.
      await new Promise((resolve) => setTimeout(resolve, 1_200))
      await client.query('select pg_stat_clear_snapshot()')
      const { rows } = await client.query<{ count: string }>(
        'select xact_commit + xact_rollback as count from pg_stat_database where datname = $1',
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
