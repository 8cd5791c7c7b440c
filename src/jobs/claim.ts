// A runner takes jobs: pending → running. Here a token is made, the fence raised and the attempt counted; in enqueue.ts too,
// where a call is inserted for a runner that waits, and nowhere else.
import type { Sql } from '../db/sql.ts'
import { MAX_CLAIM } from '../protocol/limits.ts'
import { FIRST_LEASE_MS } from '../protocol/policy.ts'
import type { ClaimedJob } from '../protocol/runners.ts'
import { toClaimedJob, type ClaimedRow, type RunnerRef } from './claimed.ts'
import { redeliverJobs } from './redeliver.ts'

/** What a runner can take: some functions of a service, and how many more it can run at once. */
export interface Capacity {
  name: string
  functions: readonly string[]
  capacity: number
}

export interface Claimed {
  jobs: ClaimedJob[]
  /** Services that have more due jobs than this claim could take. */
  leftOver: string[]
}

/** The look itself, and with it each job that was claimed; one row without a job where there is none. */
type LookRow = (ClaimedRow | { [K in keyof ClaimedRow]: null }) & { is_held: boolean; left_over: string[] | null }

/**
 * pending → running, for due jobs of the runner's functions, by priority, then time; or, where the claim holds jobs
 * already, those again: its first answer was lost. Nothing due is no jobs. `claimId` is one that nobody but this runner
 * can send. `maxBytes` bounds the arguments handed out; the first job goes out whatever its size.
 */
export async function claimJobs(
  sql: Sql,
  runner: RunnerRef,
  { claimId, services, maxBytes }: { claimId: string; services: readonly Capacity[]; maxBytes: number },
): Promise<Claimed> {
  // Rows locked by another claim are skipped, and the outer guard decides: without both, two claims share jobs.
  // A row that is locked here but does not fit is let go when the statement ends. Meanwhile others passed over it: its
  // service is told, so that somebody looks again. One more row than fits tells whether there are any left.
  // The || '' in the guard hides it from the planner, which would walk every pending job by the partial index rather
  // than look up a few ids, as long as a new table has no statistics: 180 ms instead of 1. The other transitions too.
  const rows = await sql<LookRow>(
    /* sql */ `
    with asked as (
      select service, functions::jsonb as functions, capacity
      from unnest($4::text[], $5::text[], $6::int8[]) as a (service, functions, capacity)
    ), held as (
      select id from callplane.jobs
      where namespace = $1 and state = 'running' and runner_id = $2::uuid and claim_id = $3::uuid
        and service in (select service from asked)
    ), due as (
      select j.*, asked.capacity
      from asked cross join lateral (
        select namespace, id, service, priority, run_at, octet_length(args) as bytes
        from callplane.jobs
        where namespace = $1 and service = asked.service and state = 'pending' and run_at <= now()
          and (deadline_at is null or deadline_at > now())
          and asked.functions ? function and not exists (select 1 from held)
        order by priority desc, run_at, id
        limit asked.capacity + 1
        for update skip locked
      ) j
    ), within_capacity as (
      select * from (
        select *, row_number() over (partition by service order by priority desc, run_at, id) as place from due
      ) placed
      where place <= capacity
    ), fitting as (
      select namespace, id from (
        select namespace, id, row_number() over in_order as overall, sum(bytes) over in_order as total_bytes
        from within_capacity
        window in_order as (order by priority desc, run_at, id rows between unbounded preceding and current row)
      ) measured
      where overall <= $7::int8 and (total_bytes <= $8::int8 or overall = 1)
    ), claimed as (
      update callplane.jobs j
      set state = 'running', attempt = j.attempt + 1, fence = j.fence + 1, lease_token = gen_random_uuid(),
        runner_id = $2::uuid, claim_id = $3::uuid, is_redelivered = false, started_at = now(), progress = null,
        timeout_at = now() + j.timeout_ms * interval '1 millisecond',
        lease_expires_at = least(now() + least(j.lease_ms, $9::int8) * interval '1 millisecond',
          now() + j.timeout_ms * interval '1 millisecond')
      from fitting f
      where j.namespace = f.namespace and j.id = f.id and j.state || '' = 'pending'
      returning j.*
    ), told as (
      insert into callplane.events (namespace, subject_id, from_state, to_state, service, function, priority, parent_id,
        created_at, run_at, fence, from_attempt, attempt, runner_id, started_at)
      select namespace, id, 'pending', 'running', service, function, priority, parent_id,
        created_at, run_at, fence, attempt - 1, attempt, runner_id, started_at
      from claimed
    )
    select c.id, c.service, c.function, c.args, c.lease_token as token, c.attempt, c.max_attempts, c.fence, c.parent_id,
      (extract(epoch from c.lease_expires_at - now()) * 1000)::int8 as lease_left_ms,
      (extract(epoch from c.timeout_at - now()) * 1000)::int8 as timeout_left_ms,
      c.retry -> 'on' as retry_on, look.is_held, look.left_over
    from (
      select exists (select 1 from held) as is_held,
        (select array_agg(distinct due.service) from due where due.id not in (select id from claimed)) as left_over
    ) look
    left join claimed c on true
    order by c.priority desc, c.run_at, c.id`,
    [
      runner.namespace,
      runner.id,
      claimId,
      services.map((service) => service.name),
      services.map((service) => JSON.stringify(service.functions)),
      services.map((service) => service.capacity),
      MAX_CLAIM,
      maxBytes,
      FIRST_LEASE_MS,
    ],
  )
  const [look] = rows
  if (look?.is_held) {
    const names = services.map((service) => service.name)
    const jobs = await redeliverJobs(sql, runner, { claimId, services: names })
    if (jobs.length > 0) return { jobs, leftOver: [] }
    // What was held has ended meanwhile, and nothing due was looked for: no jobs would mean that there are none. Yet
    // another turn takes another claim of this id, whose jobs end in between: it does not go on for long.
    return claimJobs(sql, runner, { claimId, services, maxBytes })
  }
  return { jobs: rows.flatMap((row) => (row.id === null ? [] : [toClaimedJob(row)])), leftOver: look?.left_over ?? [] }
}
