// The peers of a namespace, and how each said that it does.
import type { Sql } from '../db/sql.ts'
import type { PeerListed } from '../protocol/peers.ts'

const LIMIT = 10_000

/** Those that have been there for longest come first. */
export async function findPeers(sql: Sql, namespace: string): Promise<PeerListed[]> {
  type PeerRow = {
    id: string
    started_at_ms: number
    seen_at_ms: number
    is_awake: boolean
    tick: number
    lag: number
    clients: number
    slow_clients: number
    queries: number
    state_rows: number
    state_bytes: number
  }
  const rows = await sql<PeerRow>(
    /* sql */ `
    select id, floor(extract(epoch from started_at) * 1000)::int8 as started_at_ms,
      floor(extract(epoch from seen_at) * 1000)::int8 as seen_at_ms, expires_at > now() as is_awake,
      tick, lag, clients, slow_clients, queries, state_rows, state_bytes
    from callplane.peers
    where namespace = $1
    order by started_at, id
    limit $2::int8`,
    [namespace, LIMIT],
  )
  return rows.map(({ id, started_at_ms, seen_at_ms, is_awake, slow_clients, state_rows, state_bytes, ...counts }) => ({
    id,
    startedAt: new Date(started_at_ms).toISOString(),
    seenAt: new Date(seen_at_ms).toISOString(),
    isAwake: is_awake,
    slowClients: slow_clients,
    rows: state_rows,
    bytes: state_bytes,
    ...counts,
  }))
}
