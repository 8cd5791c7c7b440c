// Delayed jobs, and those that backed off, become due by time alone: nothing changes, but who waits for them must look.
import type { Sql } from '../db/sql.ts'
import type { Moved, PassingOver } from './moved.ts'

/** Pending jobs that became due within `sinceMs`, at most `limit`. Read alone: whoever claims them decides. */
export async function findJustDue(
  sql: Sql,
  { sinceMs, limit, except = [] }: { sinceMs: number; limit: number } & PassingOver,
): Promise<Moved[]> {
  return sql<Moved>(
    /* sql all namespaces */ `
    select namespace, id, service, 'due' as state, 0::int8 as due_in_ms
    from callplane.jobs
    where state = 'pending' and run_at > created_at
      and run_at > now() - $2::int8 * interval '1 millisecond' and run_at <= now()
      and namespace || '' <> all($3::text[])
    order by run_at
    limit $1::int8`,
    [limit, sinceMs, except],
  )
}
