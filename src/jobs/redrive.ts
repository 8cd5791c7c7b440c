// An ended call is run anew: ended → a new job, pending, that names the old one. The old one does not change.
import type { Sql } from '../db/sql.ts'
import { CallplaneError } from '../protocol/errors.ts'
import { IS_FINAL, type JobState } from '../protocol/job.ts'
import { unknownCall, type Reach } from './find.ts'
import { REDRIVEN_ID } from './redriven-id.ts'

/** What became of one: the job that runs it anew, made now or before, or the reason why there is none. */
export type Redriven =
  | { id: string; redrivenAs: string; service: string; isNew: boolean; deadlineInMs: number | null }
  | { id: string; error: CallplaneError }

/**
 * Arguments that one statement copies; the first job is copied whatever its size. Bounds its time and its write-ahead log:
 * a batch of the largest arguments would be half a gigabyte.
 */
const MAX_COPIED_BYTES = 16 * 1024 * 1024

/** A batch of the largest arguments takes 34 statements of 15 jobs; the rest is for twins that commit meanwhile. */
const MAX_ROUNDS = 40

type RedrivenRow = {
  id: string
  state: JobState | null
  service: string
  new_id: string
  is_new: boolean
  deadline_in_ms: number | null
  redriven_from: string | null
}

/**
 * succeeded, failed or cancelled → a new job each, due now, with the arguments, the policies, the parent and the line of
 * the old one, its whole time until the deadline, and a fence that goes on from its. A job is redriven once: its heir has
 * an id derived from its own, so that the same asked again answers the same heir. To run it once more, redrive the heir.
 */
export async function redriveJobs(sql: Sql, reach: Reach, ids: readonly string[]): Promise<Redriven[]> {
  const known = new Map<string, Redriven>()
  let open = ids
  // What a statement leaves open: jobs beyond the bytes that it copies, and those whose twin was committing meanwhile.
  for (let round = 0; open.length > 0 && round < MAX_ROUNDS; round++) {
    for (const one of await redriveOnce(sql, reach, open)) known.set(one.id, one)
    open = open.filter((id) => !known.has(id))
  }
  const undecided = () =>
    new CallplaneError('database_unavailable', 'the database could not tell whether it was redriven')
  return ids.map((id) => known.get(id) ?? { id, error: undecided() })
}

async function redriveOnce(sql: Sql, reach: Reach, ids: readonly string[]): Promise<Redriven[]> {
  // No lock and no second look at the state: a final one never changes. The limits keep the planner from making joins of
  // the look-ups: as long as a new table has no statistics it would compare each id with every job, which took seconds.
  const rows = await sql<RedrivenRow>(
    /* sql */ `
    with asked as (
      select j.id, j.state, j.service, ${REDRIVEN_ID} as new_id, octet_length(j.args) as bytes
      from callplane.jobs j
      where j.namespace = $1 and j.id = any($2::uuid[]) and ($3::text[] is null or j.service = any($3::text[]))
    ), known as (
      select a.*, d.id is not null as is_there, d.redriven_from
      from asked a
      left join lateral (
        select id, redriven_from from callplane.jobs where namespace = $1 and id = a.new_id limit 1
      ) d on true
    ), fitting as (
      select id, new_id from (
        select id, new_id, row_number() over in_order as overall, sum(bytes) over in_order as total_bytes
        from known
        where not is_there and state in ('succeeded', 'failed', 'cancelled')
        window in_order as (order by id rows between unbounded preceding and current row)
      ) measured
      where overall = 1 or total_bytes <= $4::int8
    ), made as (
      insert into callplane.jobs (namespace, id, service, function, args, args_digest, parent_id, origin_id, redriven_from,
        priority, run_at, deadline_at, max_attempts, retry, timeout_ms, lease_ms, fence)
      select $1, f.new_id, j.service, j.function, j.args, j.args_digest, j.parent_id, j.origin_id, j.id,
        j.priority, now(), now() + (j.deadline_at - j.created_at), j.max_attempts, j.retry, j.timeout_ms, j.lease_ms, j.fence
      from fitting f
      cross join lateral (select * from callplane.jobs where namespace = $1 and id = f.id limit 1) j
      order by f.new_id
      on conflict (namespace, id) do nothing
      returning namespace, id, deadline_at, service, function, priority, parent_id, redriven_from, created_at, run_at, fence
    ), told as (
      insert into callplane.events (namespace, subject_id, to_state, service, function, priority, parent_id,
        redriven_from, created_at, run_at, fence, attempt)
      select namespace, id, 'pending', service, function, priority, parent_id, redriven_from, created_at, run_at, fence, 0
      from made
    )
    select s.id, k.state, k.service, k.new_id, m.id is not null as is_new,
      (extract(epoch from m.deadline_at - now()) * 1000)::int8 as deadline_in_ms,
      case when m.id is not null then s.id else k.redriven_from end as redriven_from
    from unnest($2::uuid[]) as s (id)
    left join known k on k.id = s.id
    left join made m on m.id = k.new_id
    where k.id is null or k.is_there or m.id is not null or k.state not in ('succeeded', 'failed', 'cancelled')`,
    [reach.namespace, ids, reach.services, MAX_COPIED_BYTES],
  )
  return rows.map(redrivenOf)
}

function redrivenOf({ id, state, service, new_id: redrivenAs, redriven_from: from, ...row }: RedrivenRow): Redriven {
  if (state === null) return { id, error: unknownCall(id) }
  if (!IS_FINAL[state]) {
    const message = `call ${id} is ${state}: only a call that has ended can be redriven; wait for its end, or cancel it`
    return { id, error: new CallplaneError('call_not_ended', message) }
  }
  if (from === id) return { id, redrivenAs, service, isNew: row.is_new, deadlineInMs: row.deadline_in_ms }
  // Only who makes ids by the rule of redrives can bring this about.
  const message = `call ${id} cannot be redriven: its new id, ${redrivenAs}, is that of another call`
  return { id, error: new CallplaneError('call_id_conflict', message) }
}
