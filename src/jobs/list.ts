// Reading: the calls of a namespace that fit a filter, newest first, a page at a time.
import type { Sql, SqlParam } from '../db/sql.ts'
import type { Failure, JobState } from '../protocol/job.ts'
import type { CallFilter } from '../protocol/list-calls.ts'
import type { Reach } from './find.ts'
import { REDRIVEN_ID } from './redriven-id.ts'

/** A job without its payloads. */
export interface ListedJob {
  id: string
  service: string
  function: string
  state: JobState
  failure: Failure | null
  attempt: number
  maxAttempts: number
  createdAtMs: number
  runAtMs: number
  startedAtMs: number | null
  finishedAtMs: number | null
  runner: string | null
  parent: string | null
  origin: string
  redrivenFrom: string | null
  redrivenAs: string | null
}

/** A page of a list. `next`: go on after this id; null where nothing is left. */
export interface Page<T> {
  items: T[]
  next: string | null
}

/**
 * Rows that one statement looks at. A filter that fits few calls is answered in pages that may be empty, each of a
 * bounded cost, rather than by a walk through the whole of a namespace: 20,000 rows of 1 KB take some 30 ms.
 */
export const MAX_LOOKED_AT = 20_000

/** Below and above every id. */
export const FIRST_ID = '00000000-0000-0000-0000-000000000000'
const LAST_ID = 'ffffffff-ffff-ffff-ffff-ffffffffffff'

/** Whether the job `j` fits the reach and the filter, which are $2 to $9; see {@link filterParams}. */
export const FITS_FILTER = /* sql fragment */ `($2::text[] is null or j.service = any($2::text[]))
  and ($3::text[] is null or j.state || '' = any($3::text[]))
  and ($4::text[] is null or j.failure = any($4::text[]))
  and ($5::text is null or j.service = $5::text) and ($6::text is null or j.function = $6::text)
  and ($7::uuid is null or j.parent_id = $7::uuid)
  and ($8::int8 is null or j.created_at < now() - $8::int8 * interval '1 millisecond')
  and ($9::int8 is null or j.created_at >= now() - $9::int8 * interval '1 millisecond')`

/** $1 to $10. The first is the namespace; the last says that only failed jobs can fit, which have an index of their own. */
export function filterParams({ namespace, services }: Reach, filter: CallFilter): SqlParam[] {
  const { state = null, failure = null, service = null, function: name = null, parent = null } = filter
  const isFailedAlone = failure !== null || state?.join() === 'failed'
  const { olderThanMs = null, newerThanMs = null } = filter
  return [namespace, services, state, failure, service, name, parent, olderThanMs, newerThanMs, isFailedAlone]
}

type ListedRow = {
  looked_at: number
  last_id: string | null
  id: string | null
  service: string
  function: string
  state: JobState
  failure: Failure | null
  attempt: number
  max_attempts: number
  created_at_ms: number
  run_at_ms: number
  started_at_ms: number | null
  finished_at_ms: number | null
  runner_id: string | null
  parent_id: string | null
  origin_id: string
  redriven_from: string | null
  redriven_as: string | null
}

/** Newest first, by the time in the ids. A page can hold fewer than `limit`, even none, while there is a `next`. */
export async function listJobs(
  sql: Sql,
  reach: Reach,
  filter: CallFilter,
  { after, limit }: { after: string | null; limit: number },
): Promise<Page<ListedJob>> {
  const lookAt = fitsAll(reach, filter) ? limit : MAX_LOOKED_AT
  // Of the two halves of `looked`, $10 leaves one: it asks for no column, so that it is decided before a row is read.
  const rows = await sql<ListedRow>(
    /* sql */ `
    with looked as (
      (select id, service, function, state, failure, parent_id, created_at from callplane.jobs
        where namespace = $1 and id < $11::uuid and state = 'failed' and $10::bool
        order by id desc limit $12::int8)
      union all
      (select id, service, function, state, failure, parent_id, created_at from callplane.jobs
        where namespace = $1 and id < $11::uuid and not $10::bool
        order by id desc limit $12::int8)
    ), fitting as (
      select j.id from looked j where ${FITS_FILTER} order by j.id desc limit $13::int8
    ), shown as (
      select j.*, (
          select d.id from callplane.jobs d
          where d.namespace = $1 and d.id = ${REDRIVEN_ID} and d.redriven_from = j.id
        ) as redriven_as
      from fitting f
      cross join lateral (select * from callplane.jobs where namespace = $1 and id = f.id limit 1) j
    )
    select seen.looked_at, seen.last_id, s.id, s.service, s.function, s.state, s.failure, s.attempt, s.max_attempts,
      (extract(epoch from s.created_at) * 1000)::int8 as created_at_ms,
      (extract(epoch from s.run_at) * 1000)::int8 as run_at_ms,
      (extract(epoch from s.started_at) * 1000)::int8 as started_at_ms,
      (extract(epoch from s.finished_at) * 1000)::int8 as finished_at_ms,
      s.runner_id, s.parent_id, s.origin_id, s.redriven_from, s.redriven_as
    from (select count(*) as looked_at, (select id from looked order by id limit 1) as last_id from looked) seen
    left join shown s on true
    order by s.id desc nulls last`,
    [...filterParams(reach, filter), after ?? LAST_ID, lookAt, limit],
  )
  const items = rows.flatMap(toListedJob)
  return { items, next: nextId(items, limit, { lookedAt: rows[0]?.looked_at ?? 0, lookAt, lastId: rows[0]?.last_id }) }
}

function fitsAll({ services }: Reach, filter: CallFilter): boolean {
  return services === null && Object.values(filter).every((value) => value === undefined)
}

/** Where a page goes on: after the last that fits where it is full, else after the last that was looked at. */
export function nextId(
  items: readonly { id: string }[],
  limit: number,
  { lookedAt, lookAt, lastId }: { lookedAt: number; lookAt: number; lastId: string | null | undefined },
): string | null {
  if (items.length === limit) return items.at(-1)?.id ?? null
  return lookedAt === lookAt ? (lastId ?? null) : null
}

function toListedJob(row: ListedRow): ListedJob[] {
  // The row that tells how far the statement has looked is there without a job too.
  if (row.id === null) return []
  return [
    {
      id: row.id,
      service: row.service,
      function: row.function,
      state: row.state,
      failure: row.failure,
      attempt: row.attempt,
      maxAttempts: row.max_attempts,
      createdAtMs: row.created_at_ms,
      runAtMs: row.run_at_ms,
      startedAtMs: row.started_at_ms,
      finishedAtMs: row.finished_at_ms,
      runner: row.runner_id,
      parent: row.parent_id,
      origin: row.origin_id,
      redrivenFrom: row.redriven_from,
      redrivenAs: row.redriven_as,
    },
  ]
}
