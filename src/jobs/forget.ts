// Jobs are kept for a stated time after their end; then they go, with their attempts, and a while later with their events.
import type { Sql } from '../db/sql.ts'

/** Deletes jobs that ended longer ago than `retentionMs`, the oldest first, at most `limit` at once. How many. */
export async function forgetJobs(
  sql: Sql,
  { retentionMs, limit }: { retentionMs: number; limit: number },
): Promise<number> {
  // An end never changes, so that what was old when it was locked is old when it is deleted: the delete asks for the key alone.
  const [row] = await sql<{ forgotten: number }>(
    /* sql all namespaces */ `
    with old as (
      select j.namespace, j.id from callplane.jobs j
      where j.finished_at is not null and j.finished_at <= now() - $1::int8 * interval '1 millisecond'
      order by j.finished_at
      limit $2::int8
      for update skip locked
    ), forgotten as (
      delete from callplane.jobs j using old o
      where j.namespace = o.namespace and j.id = o.id
      returning j.namespace, j.id, j.state, j.service, j.function, j.priority, j.parent_id, j.redriven_from,
        j.created_at, j.run_at, j.fence, j.attempt, j.failure, j.runner_id, j.started_at, j.finished_at
    ), attempts as (
      delete from callplane.attempts a using forgotten f
      where a.namespace = f.namespace and a.job_id = f.id
    ), told as (
      insert into callplane.events (namespace, subject_id, from_state, service, function, priority, parent_id,
        redriven_from, created_at, run_at, fence, from_attempt, failure, runner_id, started_at, finished_at, is_last)
      select namespace, id, state, service, function, priority, parent_id,
        redriven_from, created_at, run_at, fence, attempt, failure, runner_id, started_at, finished_at, true
      from forgotten
    )
    select count(*) as forgotten from forgotten`,
    [retentionMs, limit],
  )
  return row?.forgotten ?? 0
}

/**
 * Deletes the events of jobs and runners that were forgotten longer ago than `keptMs`: until then, who watches may still read
 * them. Who has not come as far as the last of them by now begins anew. How many.
 */
export async function forgetEvents(sql: Sql, { keptMs, limit }: { keptMs: number; limit: number }): Promise<number> {
  const [row] = await sql<{ forgotten: number }>(
    /* sql all namespaces */ `
    with gone as (
      select e.namespace, e.subject_id, e.tick, e.at from callplane.events e
      where e.is_last and e.at <= now() - $1::int8 * interval '1 millisecond'
      order by e.at
      limit $2::int8
      for update skip locked
    ), deleted as (
      delete from callplane.events e using gone g
      where e.namespace = g.namespace and e.subject_id = g.subject_id
    ), lost as (
      select g.namespace, max(g.tick) as tick, bool_or(g.tick is null and g.at >= h.watched_from) as is_unstamped
      from gone g join callplane.heads h on h.namespace = g.namespace
      group by g.namespace
    ), left_out as (
      update callplane.heads h
      set tick = case when l.is_unstamped then h.tick + 1 else h.tick end,
        base_tick = case when l.is_unstamped then h.tick + 1 else greatest(h.base_tick, l.tick) end
      from lost l
      where h.namespace = l.namespace and (l.is_unstamped or l.tick > h.base_tick)
    )
    select count(*) as forgotten from gone`,
    [keptMs, limit],
  )
  return row?.forgotten ?? 0
}

/** Deletes runners that left, or were last seen, longer ago than `retentionMs`; at most `limit` at once. */
export async function forgetRunners(
  sql: Sql,
  { retentionMs, limit }: { retentionMs: number; limit: number },
): Promise<void> {
  await sql(
    /* sql all namespaces */ `
    with old as (
      select r.namespace, r.id from callplane.runners r
      where coalesce(r.left_at, r.seen_at) <= now() - $1::int8 * interval '1 millisecond'
      limit $2::int8
      for update skip locked
    ), forgotten as (
      delete from callplane.runners r using old o
      where r.namespace = o.namespace and r.id = o.id
        and coalesce(r.left_at, r.seen_at) <= now() - $1::int8 * interval '1 millisecond'
      returning r.namespace, r.id
    )
    insert into callplane.events (namespace, subject_id, command, is_last)
    select namespace, id, jsonb_build_object('command', jsonb_build_object('Drop',
      jsonb_build_object('relation', 'runners', 'row', jsonb_build_object('id', id)))), true
    from forgotten`,
    [retentionMs, limit],
  )
}
