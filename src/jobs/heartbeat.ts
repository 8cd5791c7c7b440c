// A runner says that it lives: running → running, under the same token, for longer.
import type { Sql } from '../db/sql.ts'
import { CallplaneError } from '../protocol/errors.ts'
import { inLockOrder, leaseLost, type LeaseRef } from './lease.ts'

/**
 * Renews the leases that still hold and keeps the progress that came along; one statement for all of a runner's jobs.
 * Answers, in the order sent, null for a lease renewed, else `lease_lost`. No lease outlives the attempt's timeout, and none
 * becomes shorter: of two heartbeats that cross, the one that began first may be the last to get the row.
 */
export async function heartbeatJobs(
  sql: Sql,
  namespace: string,
  heartbeats: readonly (LeaseRef & { progress?: Uint8Array })[],
): Promise<(CallplaneError | null)[]> {
  if (heartbeats.length === 0) return []
  const sent = inLockOrder(heartbeats)
  const rows = await sql<{ token: string }>(
    /* sql */ `
    with sent as materialized (
      select $1::text as namespace, * from unnest($2::uuid[], $3::uuid[], $4::bytea[]) as s (id, token, progress)
    )
    update callplane.jobs j
    set lease_expires_at = greatest(j.lease_expires_at,
        least(now() + j.lease_ms * interval '1 millisecond', j.timeout_at)),
      progress = coalesce(s.progress, j.progress)
    from sent s
    where j.namespace = s.namespace and j.id = s.id and j.state || '' = 'running' and j.lease_token = s.token
      and (j.timeout_at is null or j.timeout_at > now())
    returning s.token`,
    [
      namespace,
      sent.map((heartbeat) => heartbeat.id),
      sent.map((heartbeat) => heartbeat.token),
      sent.map((heartbeat) => heartbeat.progress ?? null),
    ],
  )
  const renewed = new Set(rows.map((row) => row.token))
  return heartbeats.map(({ id, token }) => (renewed.has(token) ? null : leaseLost(id)))
}
