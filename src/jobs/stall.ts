// A lease ran out: running → pending, to be tried again, or running → failed. By its timeout, or by silence.
import type { Sql } from '../db/sql.ts'
import type { Moved, PassingOver } from './moved.ts'

/**
 * A function that ends its process takes the jobs beside it along. They come back together, would be claimed together, and
 * would all run out of attempts: from the second silence on they come back one by one, so far apart, in so many places.
 */
const APART_MS = 250
const PLACES = 20

/**
 * running → pending or failed, for attempts whose lease has expired: `timed_out` where the attempt's time is over, else
 * `stalled`. At most `limit` at once; safe to run many times side by side, since locked rows are passed over and the
 * outer guard asks for the same token and an expired lease once more. A first stall is tried again at once.
 */
export async function retryStalledJobs(
  sql: Sql,
  { limit, except = [] }: { limit: number } & PassingOver,
): Promise<Moved[]> {
  return sql<Moved>(
    /* sql all namespaces */ `
    with overdue as (
      select j.namespace, j.id, j.lease_token, j.fence, j.attempt, j.runner_id, j.started_at, j.run_at,
        case when j.timeout_at <= now() then 'timed_out' else 'stalled' end as outcome,
        case when j.timeout_at <= now() then 'attempt ' || j.attempt || ' ran longer than ' || j.timeout_ms || ' ms'
          else 'the runner of attempt ' || j.attempt || ' went silent: it crashed, froze or lost its network' end as message,
        j.attempt < j.max_attempts and case
          when j.timeout_at <= now() then coalesce(j.retry -> 'on' ? 'timeout', false)
          else coalesce(j.retry -> 'on' ? 'stall', true) end as is_tried_again,
        case when j.timeout_at <= now() then
          least((j.retry ->> 'maxMs')::float8,
            (j.retry ->> 'initialMs')::float8 * power((j.retry ->> 'factor')::float8, least(j.attempt - 1, 100)))
            * case when (j.retry ->> 'isJittered')::bool then random() else 1 end
          else 0 end as backoff_ms
      from callplane.jobs j
      where j.state = 'running' and j.lease_expires_at <= now()
        and j.namespace || '' <> all($4::text[])
      order by j.lease_expires_at
      limit $1::int8
      for update skip locked
    ), in_places as (
      select *, case when is_again_silent then (row_number() over (partition by is_again_silent order by id) - 1) % $2::int8
        else 0 end as place
      from (select *, outcome = 'stalled' and attempt > 1 as is_again_silent from overdue) o
    ), ended as (
      update callplane.jobs j
      set state = case when o.is_tried_again then 'pending' else 'failed' end,
        run_at = case when o.is_tried_again then now() + (o.backoff_ms + o.place * $3::int8) * interval '1 millisecond'
          else j.run_at end,
        finished_at = case when o.is_tried_again then null else now() end,
        failure = case when o.is_tried_again then null else o.outcome end,
        message = case when o.is_tried_again then null
          when j.max_attempts = 1 then o.message
          else o.message || '; ' || j.attempt || ' of ' || j.max_attempts || ' attempts were made' end,
        lease_token = null, lease_expires_at = null, claim_id = null
      from in_places o
      where j.namespace = o.namespace and j.id = o.id and j.state || '' = 'running' and j.lease_token = o.lease_token
        and j.lease_expires_at <= now()
      returning j.namespace, j.id, j.service, j.function, j.priority, j.parent_id, j.created_at, j.state, j.failure,
        j.finished_at, o.run_at as was_due_at, o.fence, o.attempt, o.lease_token, o.runner_id, o.started_at,
        o.outcome, o.message, (extract(epoch from j.run_at - now()) * 1000)::int8 as due_in_ms
    ), told as (
      insert into callplane.events (namespace, subject_id, from_state, to_state, service, function, priority, parent_id,
        created_at, run_at, fence, from_attempt, attempt, failure, runner_id, started_at, finished_at)
      select namespace, id, 'running', state, service, function, priority, parent_id,
        created_at, was_due_at, fence, attempt, attempt, failure, runner_id, started_at, finished_at
      from ended
    ), kept as (
      insert into callplane.attempts
        (namespace, job_id, fence, attempt, token, runner_id, started_at, outcome, message)
      select namespace, id, fence, attempt, lease_token, runner_id, started_at, outcome, message from ended
    )
    select namespace, id, service, state, due_in_ms from ended`,
    [limit, PLACES, APART_MS, except],
  )
}
