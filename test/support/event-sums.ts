// Whether the log tells what happened: the steps of all jobs, added up, are the jobs.
import type { Row, Sql } from '../../src/db/sql.ts'

/** How a job looks to who watches. Its attempt is told while it runs and once it has ended, not while it waits. */
const rowOf = (state: string, attempt: string, finishedAt: string) => `jsonb_build_array(
  namespace, subject_id, service, function, priority, parent_id, created_at, ${state}, ${attempt}, ${finishedAt},
  case when ${state} = 'failed' then failure end,
  case when ${state} <> 'pending' then runner_id end,
  case when ${state} <> 'pending' then started_at end,
  case when ${state} <> 'pending' then started_at - run_at end)`

const isFinal = `in ('succeeded', 'failed', 'cancelled')`

/** Rows that the log tells of and that are not there (diff above 0), or that it does not tell of (below). */
export function findEventDrift(sql: Sql): Promise<Row[]> {
  return sql(`
    with steps as (
      select ${rowOf('from_state', 'from_attempt', `case when from_state ${isFinal} then finished_at end`)} as row, -1 as diff
      from callplane.events where from_state is not null
      union all
      select ${rowOf('to_state', 'attempt', `case when to_state ${isFinal} then finished_at end`)}, 1
      from callplane.events where to_state is not null
      union all
      select ${rowOf('state', 'attempt', 'finished_at')}, -1
      from (select *, id as subject_id from callplane.jobs) j
    )
    select row, sum(diff)::int8 as diff from steps group by row having sum(diff) <> 0`)
}
