// When the sweep has something to do: one look at the ends of five indexes.
import type { Sql } from '../db/sql.ts'
import type { PassingOver } from './moved.ts'

/** What the sweep does, and milliseconds until there is any of it, over all namespaces. Not above 0: now. Null: none known. */
export type NextDuties = Record<'lease' | 'deadline' | 'delay' | 'retention' | 'events', number | null>

export interface DutyOptions extends PassingOver {
  /** How long jobs are kept after their end. */
  retentionMs: number
  /** How long events are kept after their job was forgotten. */
  eventsKeptMs: number
  /** Delayed jobs that have become due within this time count as due now; earlier ones have been told of. */
  sinceMs: number
}

export async function findNextDuties(
  sql: Sql,
  { retentionMs, eventsKeptMs, sinceMs, except = [] }: DutyOptions,
): Promise<NextDuties> {
  const [next] = await sql<NextDuties>(
    /* sql all namespaces */ `
    select (extract(epoch from leased.at - now()) * 1000)::int8 as lease,
      (extract(epoch from limited.at - now()) * 1000)::int8 as deadline,
      (extract(epoch from delayed.at - now()) * 1000)::int8 as delay,
      (extract(epoch from ended.at - now()) * 1000)::int8 + $1::int8 as retention,
      (extract(epoch from gone.at - now()) * 1000)::int8 + $4::int8 as events
    from (
        select min(lease_expires_at) as at from callplane.jobs
        where state = 'running' and namespace || '' <> all($3::text[])
      ) leased,
      (
        select min(deadline_at) as at from callplane.jobs
        where deadline_at is not null and state in ('pending', 'running') and namespace || '' <> all($3::text[])
      ) limited,
      (
        select min(run_at) as at from callplane.jobs
        where state = 'pending' and run_at > created_at and run_at > now() - $2::int8 * interval '1 millisecond'
          and namespace || '' <> all($3::text[])
      ) delayed,
      (select min(finished_at) as at from callplane.jobs where finished_at is not null) ended,
      (select min(at) as at from callplane.events where is_last) gone`,
    [retentionMs, sinceMs, except, eventsKeptMs],
  )
  return next ?? { lease: null, deadline: null, delay: null, retention: null, events: null }
}

/** The namespaces of what the sweep is about to move, or tells of, so that their bells can be armed before. */
export async function findOverdueNamespaces(sql: Sql, { sinceMs }: { sinceMs: number }): Promise<string[]> {
  const rows = await sql<{ namespace: string }>(
    /* sql all namespaces */ `
    select distinct namespace from callplane.jobs where state = 'running' and lease_expires_at <= now()
    union
    select distinct namespace from callplane.jobs
    where deadline_at is not null and state in ('pending', 'running') and deadline_at <= now()
    union
    select distinct namespace from callplane.jobs
    where state = 'pending' and run_at > created_at and run_at <= now()
      and run_at > now() - $1::int8 * interval '1 millisecond'`,
    [sinceMs],
  )
  return rows.map((row) => row.namespace)
}
