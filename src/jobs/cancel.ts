// Someone takes a call back: pending or running → cancelled.
import type { Sql } from '../db/sql.ts'
import { IS_FINAL, type JobState } from '../protocol/job.ts'
import type { Reach } from './find.ts'

/** The state that a job is in after the request: `cancelled`, or the end that came first. Null: no such job. */
export interface Cancelled {
  id: string
  state: JobState | null
  isFirst: boolean
}

/** pending → cancelled, running → cancelled; one that has ended keeps its end. In the order sent. */
export async function cancelJobs(sql: Sql, reach: Reach, ids: readonly string[], reason: string): Promise<Cancelled[]> {
  const known = new Map<string, Cancelled>()
  let open = ids
  // A job that moved on while the statement waited for its lock is seen as it was before: ask again for those.
  for (let round = 0; open.length > 0 && round < 5; round++) {
    for (const one of await cancelOnce(sql, reach, open, reason)) known.set(one.id, one)
    open = open.filter((id) => {
      const state = known.get(id)?.state
      return state !== undefined && state !== null && !IS_FINAL[state]
    })
  }
  return ids.map((id) => known.get(id) ?? { id, state: null, isFirst: false })
}

async function cancelOnce(sql: Sql, reach: Reach, ids: readonly string[], reason: string): Promise<Cancelled[]> {
  const rows = await sql<{ id: string; state: JobState; is_first: boolean }>(
    /* sql */ `
    with sent as materialized (
      select $1::text as namespace, * from unnest($2::uuid[]) as s (id)
    ), held as (
      select j.namespace, j.id, j.state, j.lease_token, j.fence, j.attempt, j.runner_id, j.started_at
      from sent s
      join callplane.jobs j on j.namespace = s.namespace and j.id = s.id
      where j.state || '' in ('pending', 'running') and ($4::text[] is null or j.service = any($4::text[]))
      order by j.id
      for update of j
    ), ended as (
      update callplane.jobs j
      set state = 'cancelled', finished_at = now(), message = $3,
        lease_token = null, lease_expires_at = null, claim_id = null
      from held h
      where j.namespace = h.namespace and j.id = h.id and j.state || '' in ('pending', 'running')
        and j.lease_token is not distinct from h.lease_token
      returning j.namespace, j.id, h.state as from_state, j.service, j.function, j.priority, j.parent_id, j.created_at,
        j.run_at, j.fence, j.attempt, j.runner_id, j.started_at, j.finished_at
    ), told as (
      insert into callplane.events (namespace, subject_id, from_state, to_state, service, function, priority, parent_id,
        created_at, run_at, fence, from_attempt, attempt, runner_id, started_at, finished_at)
      select namespace, id, from_state, 'cancelled', service, function, priority, parent_id,
        created_at, run_at, fence, attempt, attempt, runner_id, started_at, finished_at
      from ended
    ), kept as (
      insert into callplane.attempts (namespace, job_id, fence, attempt, token, runner_id, started_at, outcome, message)
      select $1, h.id, h.fence, h.attempt, h.lease_token, h.runner_id, h.started_at, 'cancelled', $3
      from held h join ended e on e.id = h.id
      where h.lease_token is not null
    )
    select j.id, case when e.id is null then j.state else 'cancelled' end as state, e.id is not null as is_first
    from sent s
    join callplane.jobs j on j.namespace = s.namespace and j.id = s.id
    left join ended e on e.id = j.id
    where $4::text[] is null or j.service = any($4::text[])`,
    [reach.namespace, ids, reason, reach.services],
  )
  return rows.map((row) => ({ id: row.id, state: row.state, isFirst: row.is_first }))
}
