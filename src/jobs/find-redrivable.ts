// Which calls a filter redrives: ended before the run began, and not redriven yet; oldest first, in steps.
import type { Sql } from '../db/sql.ts'
import type { CallFilter } from '../protocol/list-calls.ts'
import type { Reach } from './find.ts'
import { filterParams, FIRST_ID, FITS_FILTER, MAX_LOOKED_AT, nextId } from './list.ts'
import { REDRIVEN_ID } from './redriven-id.ts'

/**
 * How far a run has come. What ended after its beginning is not its business: a new job that fails at once would be
 * redriven by the same run, again and again.
 */
export interface RedriveCursor {
  beganAtMs: number
  afterId: string
}

/** A run that begins now. */
export async function beginRedrive(sql: Sql): Promise<RedriveCursor> {
  const [row] = await sql<{ now_ms: number }>(/* sql */ `select (extract(epoch from now()) * 1000)::int8 as now_ms`)
  return { beganAtMs: row?.now_ms ?? 0, afterId: FIRST_ID }
}

/** The next jobs of the run, at most `limit`. Without states in the filter, failed ones alone. */
export async function findRedrivable(
  sql: Sql,
  reach: Reach,
  filter: CallFilter,
  { cursor, limit }: { cursor: RedriveCursor; limit: number },
): Promise<{ ids: string[]; next: RedriveCursor | null }> {
  // The two halves of `looked` are as in list.ts. A "not exists" would become a join with all jobs, as in redrive.ts.
  const rows = await sql<{ looked_at: number; last_id: string | null; id: string | null }>(
    /* sql */ `
    with looked as (
      (select id, service, function, state, failure, parent_id, created_at, finished_at from callplane.jobs
        where namespace = $1 and id > $11::uuid and state = 'failed' and $10::bool
        order by id limit $12::int8)
      union all
      (select id, service, function, state, failure, parent_id, created_at, finished_at from callplane.jobs
        where namespace = $1 and id > $11::uuid and not $10::bool
        order by id limit $12::int8)
    ), fitting as (
      select j.id from (select * from looked order by id) j
      where ${FITS_FILTER} and j.finished_at <= 'epoch'::timestamptz + $14::int8 * interval '1 millisecond'
        and (select d.id from callplane.jobs d where d.namespace = $1 and d.id = ${REDRIVEN_ID}) is null
      order by j.id limit $13::int8
    )
    select seen.looked_at, seen.last_id, f.id
    from (select count(*) as looked_at, (select id from looked order by id desc limit 1) as last_id from looked) seen
    left join fitting f on true
    order by f.id nulls last`,
    [
      ...filterParams(reach, { ...filter, state: filter.state ?? ['failed'] }),
      cursor.afterId,
      MAX_LOOKED_AT,
      limit,
      cursor.beganAtMs,
    ],
  )
  const found = rows.flatMap(({ id }) => (id === null ? [] : [{ id }]))
  const lookedAt = { lookedAt: rows[0]?.looked_at ?? 0, lookAt: MAX_LOOKED_AT, lastId: rows[0]?.last_id }
  const afterId = nextId(found, limit, lookedAt)
  return { ids: found.map(({ id }) => id), next: afterId === null ? null : { ...cursor, afterId } }
}
