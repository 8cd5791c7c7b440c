// The answer to a claim was lost: running → running, handed out once more under the same tokens.
import type { Sql } from '../db/sql.ts'
import { FIRST_LEASE_MS } from '../protocol/policy.ts'
import type { ClaimedJob } from '../protocol/runners.ts'
import { toClaimedJob, type ClaimedRow, type RunnerRef } from './claimed.ts'

/**
 * What the claim holds, again. No attempt is counted, and the first lease begins anew, since the answer is on its way once
 * more. From here on nobody can know that the runner has not heard of the jobs: they are not given back any more.
 */
export async function redeliverJobs(
  sql: Sql,
  runner: RunnerRef,
  { claimId, services }: { claimId: string; services: readonly string[] },
): Promise<ClaimedJob[]> {
  const rows = await sql<ClaimedRow>(
    /* sql */ `
    with redelivered as (
      update callplane.jobs j
      set is_redelivered = true,
        lease_expires_at = greatest(j.lease_expires_at,
          least(now() + least(j.lease_ms, $5::int8) * interval '1 millisecond', j.timeout_at))
      where j.namespace = $1 and j.state = 'running' and j.runner_id = $2::uuid and j.claim_id = $3::uuid
        and j.service = any($4::text[])
      returning j.*
    )
    select id, service, function, args, lease_token as token, attempt, max_attempts, fence, parent_id,
      (extract(epoch from lease_expires_at - now()) * 1000)::int8 as lease_left_ms,
      (extract(epoch from timeout_at - now()) * 1000)::int8 as timeout_left_ms,
      retry -> 'on' as retry_on
    from redelivered
    order by priority desc, run_at, id`,
    [runner.namespace, runner.id, claimId, services, FIRST_LEASE_MS],
  )
  return rows.map(toClaimedJob)
}
