// A function returned: running → succeeded.
import type { Sql } from '../db/sql.ts'
import { leaseLost, settle, type LeaseRef, type Verdict } from './lease.ts'

/**
 * running → succeeded, for the holders of the leases only; one statement for all. The same report sent again gets the
 * same answer, from the row of its attempt; a report of a lost lease gets `lease_lost`. In the order sent.
 */
export async function completeJobs(
  sql: Sql,
  namespace: string,
  reports: readonly (LeaseRef & { result: Uint8Array })[],
): Promise<Verdict[]> {
  return settle(reports, async (open) => {
    const rows = await sql<{ id: string; token: string; is_first: boolean; outcome: string | null }>(
      // `= any($2)` says nothing that the join does not. Without it a planner that knows nothing of the table (a new one, or
      // the embedded database, which never analyses) hashes every job of the namespace: 30 ms instead of 1, with 20,000.
      // The other transitions too.
      /* sql */ `
      with sent as (
        select * from unnest($2::uuid[], $3::uuid[], $4::bytea[]) as s (id, token, result)
      ), completed as (
        update callplane.jobs j
        set state = 'succeeded', result = s.result, finished_at = now(),
          lease_token = null, lease_expires_at = null, claim_id = null
        from sent s
        where j.namespace = $1 and j.id = any($2::uuid[]) and j.id = s.id and j.state || '' = 'running' and j.lease_token = s.token
        returning j.id, s.token, j.fence, j.attempt, j.runner_id, j.started_at
      ), kept as (
        insert into callplane.attempts (namespace, job_id, fence, attempt, token, runner_id, started_at, outcome)
        select $1, id, fence, attempt, token, runner_id, started_at, 'succeeded' from completed
      )
      select s.id, s.token, c.id is not null as is_first, a.outcome
      from sent s
      left join completed c on c.id = s.id and c.token = s.token
      left join callplane.attempts a
        on a.namespace = $1 and a.job_id = any($2::uuid[]) and a.job_id = s.id and a.token = s.token
      where c.id is not null or a.outcome is not null`,
      [
        namespace,
        open.map((report) => report.id),
        open.map((report) => report.token),
        open.map((report) => report.result),
      ],
    )
    return new Map(
      rows.map(({ id, token, is_first, outcome }): [string, Verdict] => [
        token,
        is_first || outcome === 'succeeded'
          ? { id, state: 'succeeded', isFirst: is_first }
          : { id, error: leaseLost(id) },
      ]),
    )
  })
}
