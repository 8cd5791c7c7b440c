// A deadline passed: pending or running → failed.
import type { Sql } from '../db/sql.ts'
import type { Moved, PassingOver } from './moved.ts'

/** pending or running → failed (`expired`), for calls whose deadline has passed; at most `limit` at once. */
export async function expireJobs(sql: Sql, { limit, except = [] }: { limit: number } & PassingOver): Promise<Moved[]> {
  return sql<Moved>(
    /* sql all namespaces */ `
    with overdue as (
      select j.namespace, j.id, j.state, j.lease_token, j.fence, j.attempt, j.runner_id, j.started_at,
        'the deadline of the call passed ' || case when j.state = 'running' then 'while attempt ' || j.attempt || ' ran'
          when j.attempt = 0 then 'before a runner took it' else 'between two attempts' end as message
      from callplane.jobs j
      where j.state in ('pending', 'running') and j.deadline_at is not null and j.deadline_at <= now()
        and j.namespace || '' <> all($2::text[])
      order by j.deadline_at
      limit $1::int8
      for update skip locked
    ), ended as (
      update callplane.jobs j
      set state = 'failed', failure = 'expired', message = o.message, finished_at = now(),
        lease_token = null, lease_expires_at = null, claim_id = null
      from overdue o
      where j.namespace = o.namespace and j.id = o.id and j.state = o.state
        and j.lease_token is not distinct from o.lease_token
      returning j.namespace, j.id, o.state as from_state, j.state, j.service, j.function, j.priority, j.parent_id,
        j.created_at, j.run_at, j.failure, j.finished_at, 0::int8 as due_in_ms,
        o.fence, o.attempt, o.lease_token, o.runner_id, o.started_at, o.message
    ), told as (
      insert into callplane.events (namespace, subject_id, from_state, to_state, service, function, priority, parent_id,
        created_at, run_at, fence, from_attempt, attempt, failure, runner_id, started_at, finished_at)
      select namespace, id, from_state, state, service, function, priority, parent_id,
        created_at, run_at, fence, attempt, attempt, failure, runner_id, started_at, finished_at
      from ended
    ), kept as (
      insert into callplane.attempts
        (namespace, job_id, fence, attempt, token, runner_id, started_at, outcome, message)
      select namespace, id, fence, attempt, lease_token, runner_id, started_at, 'expired', message
      from ended
      where lease_token is not null
    )
    select namespace, id, service, state, due_in_ms from ended`,
    [limit, except],
  )
}
