// A function threw: running → pending, to be tried again, or running → failed.
import type { Sql } from '../db/sql.ts'
import type { Failure } from '../protocol/job.ts'
import { settle, type LeaseRef, type Verdict } from './lease.ts'

export interface FailureReport extends LeaseRef {
  /** Payload: what was thrown. */
  error: Uint8Array
  /** Whether the runner, who can read the error, finds that the retry policy covers it. */
  isRetryable: boolean
}

type FailedRow = {
  id: string
  token: string
  state: 'pending' | 'failed'
  failure: Failure | null
  service: string
  due_in_ms: number
}

/**
 * running → pending (after the backoff, while the policy covers throws and attempts remain) or running → failed, for the
 * holders of the leases only. Repeats and lost leases are answered as in complete.ts. What is thrown after the attempt's
 * time is over is its end by timeout, as if the sweep had come first: functions throw when their signal aborts.
 */
export async function failJobs(sql: Sql, namespace: string, reports: readonly FailureReport[]): Promise<Verdict[]> {
  const apply = async () => {
    const rows = await sql<FailedRow>(
      /* sql */ `
      with sent as materialized (
        select $1::text as namespace, * from unnest($2::uuid[], $3::uuid[], $4::bytea[], $5::bool[]) as s (id, token, error, is_retryable)
      ), held as (
        select j.namespace, j.id, j.lease_token, j.fence, j.attempt, j.runner_id, j.started_at, j.run_at, s.error,
          j.timeout_at is not null and j.timeout_at <= now() as is_timed_out,
          j.attempt < j.max_attempts and j.retry is not null and case
            when j.timeout_at <= now() then j.retry -> 'on' ? 'timeout' else s.is_retryable end as is_tried_again,
          least((j.retry ->> 'maxMs')::float8,
            (j.retry ->> 'initialMs')::float8 * power((j.retry ->> 'factor')::float8, least(j.attempt - 1, 100)))
            * case when (j.retry ->> 'isJittered')::bool then random() else 1 end as backoff_ms
        from sent s
        join callplane.jobs j on j.namespace = s.namespace and j.id = s.id
        where j.state || '' = 'running' and j.lease_token = s.token
        order by j.id
        for update of j
      ), told as (
        select *, case when is_timed_out then 'timed_out' else 'threw' end as outcome,
          case when is_timed_out then null else error end as thrown,
          case when is_timed_out then 'attempt ' || attempt || ' ran longer than its timeout' end as message
        from held
      ), ended as (
        update callplane.jobs j
        set state = case when h.is_tried_again then 'pending' else 'failed' end,
          run_at = case when h.is_tried_again then now() + h.backoff_ms * interval '1 millisecond' else j.run_at end,
          finished_at = case when h.is_tried_again then null else now() end,
          failure = case when h.is_tried_again then null else h.outcome end,
          error = case when h.is_tried_again then null else h.thrown end,
          message = case when h.is_tried_again then null else h.message end,
          lease_token = null, lease_expires_at = null, claim_id = null
        from told h
        where j.namespace = h.namespace and j.id = h.id and j.state || '' = 'running' and j.lease_token = h.lease_token
        returning h.lease_token as token, j.namespace, j.id, j.state, j.service, j.function, j.priority, j.parent_id,
          j.created_at, j.run_at, h.run_at as was_due_at, j.fence, j.attempt, j.failure, j.runner_id, j.started_at,
          j.finished_at
      ), known as (
        insert into callplane.events (namespace, subject_id, from_state, to_state, service, function, priority, parent_id,
          created_at, run_at, fence, from_attempt, attempt, failure, runner_id, started_at, finished_at)
        select namespace, id, 'running', state, service, function, priority, parent_id,
          created_at, was_due_at, fence, attempt, attempt, failure, runner_id, started_at, finished_at
        from ended
      ), kept as (
        insert into callplane.attempts
          (namespace, job_id, fence, attempt, token, runner_id, started_at, outcome, error, message)
        select $1, h.id, h.fence, h.attempt, h.lease_token, h.runner_id, h.started_at, h.outcome, h.thrown, h.message
        from told h join ended e on e.id = h.id
      )
      select id, token, state, failure, service, (extract(epoch from run_at - now()) * 1000)::int8 as due_in_ms
      from ended`,
      [
        namespace,
        reports.map((report) => report.id),
        reports.map((report) => report.token),
        reports.map((report) => report.error),
        reports.map((report) => report.isRetryable),
      ],
    )
    return new Map(rows.map((row): [string, Verdict] => [row.token, verdictOf(row)]))
  }
  return settle(sql, namespace, reports, {
    apply,
    // A repeat hears of the job as it stands: it may have been tried again since.
    repeat({ id, outcome, state, service, dueInMs }) {
      if (outcome !== 'threw') return null
      if (state === 'failed') return { id, state, isFirst: false, isTimedOut: false }
      return { id, state: 'pending', isFirst: false, service, dueInMs }
    },
  })
}

function verdictOf({ id, state, failure, service, due_in_ms: dueInMs }: FailedRow): Verdict {
  if (state === 'pending') return { id, state, isFirst: true, service, dueInMs }
  return { id, state, isFirst: true, isTimedOut: failure === 'timed_out' }
}
