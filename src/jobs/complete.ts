// A function returned: running → succeeded.
import type { Sql } from '../db/sql.ts'
import { inLockOrder, settle, type LeaseRef, type Verdict } from './lease.ts'

/**
 * running → succeeded, for the holders of the leases only; one statement for all. The same report sent again gets the
 * same answer, from the row of its attempt; a report of a lost lease gets `lease_lost`. In the order sent.
 */
export async function completeJobs(
  sql: Sql,
  namespace: string,
  reports: readonly (LeaseRef & { result: Uint8Array })[],
): Promise<Verdict[]> {
  return settle(sql, namespace, reports, {
    async apply() {
      const sent = inLockOrder(reports)
      // The namespace comes with each item, out of the planner's sight: it must look each key up. Told `namespace = $1`, it
      // reads every job of the namespace by that half of the key, as long as it takes a new table for a small one: it has
      // planned for an empty table then, and keeps the plan. The other transitions too.
      const rows = await sql<{ id: string; token: string }>(
        /* sql */ `
        with sent as materialized (
          select $1::text as namespace, * from unnest($2::uuid[], $3::uuid[], $4::bytea[]) as s (id, token, result)
        ), completed as (
          update callplane.jobs j
          set state = 'succeeded', result = s.result, finished_at = now(),
            lease_token = null, lease_expires_at = null, claim_id = null
          from sent s
          where j.namespace = s.namespace and j.id = s.id and j.state || '' = 'running' and j.lease_token = s.token
          returning s.token, j.namespace, j.id, j.service, j.function, j.priority, j.parent_id, j.created_at, j.run_at,
            j.fence, j.attempt, j.runner_id, j.started_at, j.finished_at
        ), told as (
          insert into callplane.events (namespace, subject_id, from_state, to_state, service, function, priority, parent_id,
            created_at, run_at, fence, from_attempt, attempt, runner_id, started_at, finished_at)
          select namespace, id, 'running', 'succeeded', service, function, priority, parent_id,
            created_at, run_at, fence, attempt, attempt, runner_id, started_at, finished_at
          from completed
        ), kept as (
          insert into callplane.attempts (namespace, job_id, fence, attempt, token, runner_id, started_at, outcome)
          select $1, id, fence, attempt, token, runner_id, started_at, 'succeeded' from completed
        )
        select id, token from completed`,
        [
          namespace,
          sent.map((report) => report.id),
          sent.map((report) => report.token),
          sent.map((report) => report.result),
        ],
      )
      return new Map(rows.map(({ id, token }): [string, Verdict] => [token, { id, state: 'succeeded', isFirst: true }]))
    },
    repeat: ({ id, outcome }) => (outcome === 'succeeded' ? { id, state: 'succeeded', isFirst: false } : null),
  })
}
