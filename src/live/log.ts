// The log as peers read it: what happened in a namespace, in the order of its ticks.
import type { Json, Sql } from '../db/sql.ts'
import { IS_FINAL, type Failure, type JobState } from '../protocol/job.ts'
import type { Row } from '../protocol/relations.ts'

/** What a job was and is; null: it was made, or forgotten. */
export interface Step {
  tick: number
  before: Row | null
  after: Row | null
  /** The job that this one, which is made or forgotten here, runs anew. */
  redrivenFrom: string | null
}

/** What a client asked for, for every peer to apply. */
export interface SentCommand {
  tick: number
  client: string
  command: Json
  /** When it was appended, by the database's clock. */
  atMs: number
}

export type Entry = Step | SentCommand

/**
 * What an entry is made of.
 */
export const ENTRY_COLUMNS = /* sql fragment */ `e.tick, e.subject_id, e.command, e.from_state, e.to_state, e.service,
  e.function, e.failure, e.runner_id, e.from_attempt, e.attempt, e.priority, e.parent_id, e.redriven_from,
  floor(extract(epoch from e.at) * 1000)::int8 as at_ms,
  floor(extract(epoch from e.created_at) * 1000)::int8 as created_at_ms,
  floor(extract(epoch from e.run_at) * 1000)::int8 as run_at_ms,
  floor(extract(epoch from e.started_at) * 1000)::int8 as started_at_ms,
  floor(extract(epoch from e.finished_at) * 1000)::int8 as finished_at_ms`

export type EntryRow = {
  tick: number
  subject_id: string
  command: Json
  from_state: JobState | null
  to_state: JobState | null
  service: string
  function: string
  failure: Failure | null
  runner_id: string | null
  from_attempt: number
  attempt: number
  priority: number
  parent_id: string | null
  redriven_from: string | null
  at_ms: number
  created_at_ms: number
  run_at_ms: number
  started_at_ms: number | null
  finished_at_ms: number | null
}

export function toEntry(row: EntryRow): Entry {
  const { tick, subject_id: client, command, at_ms: atMs } = row
  if (command !== null) return { tick, client, command, atMs }
  const [before, after] = [jobRow(row, row.from_state, row.from_attempt), jobRow(row, row.to_state, row.attempt)]
  return { tick, before, after, redrivenFrom: row.redriven_from }
}

/** A row of the relation `jobs`, in the order of its columns, as the tables tell it. */
function jobRow(row: EntryRow, state: JobState | null, attempt: number): Row | null {
  if (state === null) return null
  const hasBegun = state !== 'pending'
  const isFinal = IS_FINAL[state]
  const startedAtMs = hasBegun ? row.started_at_ms : null
  const finishedAtMs = isFinal ? row.finished_at_ms : null
  return [
    row.subject_id,
    row.service,
    row.function,
    state,
    isFinal ? row.failure : null,
    hasBegun ? row.runner_id : null,
    attempt,
    row.priority,
    row.parent_id,
    row.created_at_ms,
    startedAtMs,
    finishedAtMs,
    startedAtMs === null ? null : startedAtMs - row.run_at_ms,
    startedAtMs === null || finishedAtMs === null ? null : finishedAtMs - startedAtMs,
  ]
}

/**
 * What came after a tick, whole ticks alone: about `limit` entries, more where the last tick has more. `baseTick` is above
 * `after` where what came between was not kept in the log: then there is nothing to go on from.
 */
export async function readLog(
  sql: Sql,
  namespace: string,
  { after, limit }: { after: number; limit: number },
): Promise<{ baseTick: number; headTick: number; entries: Entry[] }> {
  const rows = await sql<(EntryRow | { [K in keyof EntryRow]: null }) & { base_tick: number; head_tick: number }>(
    /* sql */ `
    select h.base_tick, h.tick as head_tick, ${ENTRY_COLUMNS}
    from callplane.heads h
    left join callplane.events e on e.namespace = $1 and e.tick > $2::int8 and e.tick <= coalesce((
      select tick from callplane.events
      where namespace = $1 and tick > $2::int8
      order by tick
      limit 1 offset $3::int8
    ), h.tick)
    where h.namespace = $1
    order by e.tick nulls last, e.at, e.subject_id, e.place nulls first`,
    [namespace, after, limit],
  )
  const entries = rows.flatMap((row) => (row.tick === null ? [] : [toEntry(row)]))
  return { baseTick: rows[0]?.base_tick ?? 0, headTick: rows[0]?.head_tick ?? 0, entries }
}
