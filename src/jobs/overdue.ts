// When the sweep has something to do: one look at the ends of three indexes.
import type { Sql } from '../db/sql.ts'

/** Milliseconds until each duty has something to do, over all namespaces; not above 0: now. Null: not as far as is known. */
export type NextDuties = Record<'lease' | 'deadline' | 'retention', number | null>

export async function findNextDuties(sql: Sql, { retentionMs }: { retentionMs: number }): Promise<NextDuties> {
  const [next] = await sql<NextDuties>(
    /* sql all namespaces */ `
    select (extract(epoch from leased.at - now()) * 1000)::int8 as lease,
      (extract(epoch from limited.at - now()) * 1000)::int8 as deadline,
      (extract(epoch from ended.at - now()) * 1000)::int8 + $1::int8 as retention
    from (select min(lease_expires_at) as at from callplane.jobs where state = 'running') leased,
      (
        select min(deadline_at) as at from callplane.jobs
        where deadline_at is not null and state in ('pending', 'running')
      ) limited,
      (select min(finished_at) as at from callplane.jobs where finished_at is not null) ended`,
    [retentionMs],
  )
  return next ?? { lease: null, deadline: null, retention: null }
}
