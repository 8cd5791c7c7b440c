// The runner had gone before it could hear of its jobs: running → pending, and the attempt is not counted.
import type { Sql } from '../db/sql.ts'
import { inLockOrder, type LeaseRef } from './lease.ts'

/** As often as a job can be given back. More would let a network that cuts each answer keep it for ever. */
const MAX_GIVEN_BACK = 2

/** A job that waits again, for the bell. */
export type GivenBack = { id: string; service: string }

/**
 * running → pending, for attempts that certainly nobody has begun: only the poll that claimed them may say so, about an
 * answer that it did not send. A claim that was asked for again meanwhile keeps its jobs: its second answer may have
 * arrived. The fence stays raised. What is not given back is left to its lease, and counts.
 */
export async function giveBackJobs(sql: Sql, namespace: string, leases: readonly LeaseRef[]): Promise<GivenBack[]> {
  const sent = inLockOrder(leases)
  return sql<GivenBack>(
    /* sql */ `
    with sent as materialized (
      select $1::text as namespace, * from unnest($2::uuid[], $3::uuid[]) as s (id, token)
    ), given_back as (
      update callplane.jobs j
      set state = 'pending', attempt = j.attempt - 1, given_back = j.given_back + 1,
        lease_token = null, lease_expires_at = null, claim_id = null, timeout_at = null
      from sent s
      where j.namespace = s.namespace and j.id = s.id and j.state || '' = 'running' and j.lease_token = s.token
        and not j.is_redelivered and j.given_back < $4::int8
      returning j.namespace, j.id, j.service, j.function, j.priority, j.parent_id, j.created_at, j.run_at, j.fence,
        j.attempt, j.runner_id, j.started_at
    ), told as (
      insert into callplane.events (namespace, subject_id, from_state, to_state, service, function, priority, parent_id,
        created_at, run_at, fence, from_attempt, attempt, runner_id, started_at)
      select namespace, id, 'running', 'pending', service, function, priority, parent_id,
        created_at, run_at, fence, attempt + 1, attempt, runner_id, started_at
      from given_back
    )
    select id, service from given_back`,
    [namespace, sent.map((lease) => lease.id), sent.map((lease) => lease.token), MAX_GIVEN_BACK],
  )
}
