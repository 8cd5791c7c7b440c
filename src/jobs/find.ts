// Reading: how calls ended, and everything that is known of one.
import type { Sql } from '../db/sql.ts'
import { CallplaneError } from '../protocol/errors.ts'
import { IS_FINAL, type AttemptOutcome, type CallOutcome, type Failure, type JobState } from '../protocol/job.ts'
import { REDRIVEN_ID } from './redriven-id.ts'

/** What a reader may see: a namespace, or only some services of it. */
export interface Reach {
  namespace: string
  services: readonly string[] | null
}

/** What is said of a call that does not exist, or not for this reader. */
export function unknownCall(id: string): CallplaneError {
  return new CallplaneError('not_found', `there is no call ${id} in the namespace of this key`)
}

export type EndColumns = {
  state: JobState
  failure: Failure | null
  result: Uint8Array | null
  error: Uint8Array | null
  message: string | null
}

/** The outcome that a row tells, or null while the job has not ended. */
function outcomeOf(row: EndColumns): CallOutcome | null {
  if (row.state === 'succeeded' && row.result !== null) return { ended: 'succeeded', result: row.result }
  if (row.state === 'cancelled') return { ended: 'cancelled', message: row.message ?? 'the call was cancelled' }
  if (row.state !== 'failed' || row.failure === null) return null
  if (row.failure === 'threw') return row.error === null ? null : { ended: 'threw', error: row.error }
  return { ended: row.failure, message: row.message ?? row.failure }
}

export interface Outcomes {
  /** For each id that the reader can see, its outcome, or null while it has none. */
  found: Map<string, CallOutcome | null>
  /** There are more outcomes than `maxBytes`: ask again for the ids that have none here. */
  isCut: boolean
}

/** How calls ended. `maxBytes` bounds the payloads of one answer; the first is there whatever its size. */
export async function findOutcomes(
  sql: Sql,
  { namespace, services }: Reach,
  ids: readonly string[],
  { maxBytes }: { maxBytes: number },
): Promise<Outcomes> {
  const rows = await sql<EndColumns & { id: string; is_cut: boolean }>(
    /* sql */ `
    with sent as materialized (
      select $1::text as namespace, * from unnest($2::uuid[]) as s (id)
    )
    select id, state, failure, message, is_cut,
      case when is_cut then null else result end as result, case when is_cut then null else error end as error
    from (
      select *, overall > 1 and total_bytes > $4::int8 and coalesce(result, error) is not null as is_cut
      from (
        select j.id, j.state, j.failure, j.message, j.result, j.error, row_number() over in_order as overall,
          sum(coalesce(octet_length(j.result), octet_length(j.error), 0)) over in_order as total_bytes
        from sent s
        join callplane.jobs j on j.namespace = s.namespace and j.id = s.id
        where $3::text[] is null or j.service = any($3::text[])
        window in_order as (order by j.id rows between unbounded preceding and current row)
      ) measured
    ) cut`,
    [namespace, ids, services, maxBytes],
  )
  return { found: new Map(rows.map((row) => [row.id, outcomeOf(row)])), isCut: rows.some((row) => row.is_cut) }
}

/** One attempt of a job: those that ended from their rows, the running one from the job's. */
export interface AttemptRecord {
  attempt: number
  fence: number
  runner: string
  startedAtMs: number
  endedAtMs: number | null
  outcome: AttemptOutcome | null
  error: Uint8Array | null
  message: string | null
}

/** One step of a job, as its event tells. Null `from`: it was made. */
export interface StepRecord {
  atMs: number
  from: JobState | null
  to: JobState
  fence: number
  attempt: number
}

export interface JobRecord {
  id: string
  service: string
  function: string
  state: JobState
  attempt: number
  maxAttempts: number
  createdAtMs: number
  runAtMs: number
  finishedAtMs: number | null
  parent: string | null
  /** The first of its line of redrives: its own id unless it runs another anew. */
  origin: string
  redrivenFrom: string | null
  redrivenAs: string | null
  progress: Uint8Array | null
  outcome: CallOutcome | null
  failure: Failure | null
  isDue: boolean
  /** Whether a runner has ever registered the function. */
  isServed: boolean
  attempts: AttemptRecord[]
  /** Every step since the job was made, the newest where there are very many. */
  steps: StepRecord[]
}

type JobRow = EndColumns & {
  id: string
  service: string
  function: string
  attempt: number
  max_attempts: number
  fence: number
  runner_id: string | null
  created_at_ms: number
  run_at_ms: number
  started_at_ms: number | null
  finished_at_ms: number | null
  parent_id: string | null
  origin_id: string
  redriven_from: string | null
  redriven_as: string | null
  progress: Uint8Array | null
  is_due: boolean
  is_served: boolean
  steps: StepRow[] | null
}

type AttemptRow = {
  attempt: number
  fence: number
  runner_id: string
  started_at_ms: number
  ended_at_ms: number
  outcome: AttemptOutcome
  error: Uint8Array | null
  message: string | null
}

/** Of a job that is tried again for ever. */
const MAX_STEPS = 1_000

/** Errors of attempts that are shown with a job: the newest, up to so much. */
const MAX_ATTEMPT_ERROR_BYTES = 4 * 1024 * 1024

/** Everything about one job, or null where the reader can see none by this id. */
export async function findJob(sql: Sql, { namespace, services }: Reach, id: string): Promise<JobRecord | null> {
  const [job] = await sql<JobRow>(
    /* sql */ `
    select id, service, function, state, attempt, max_attempts, fence, runner_id, parent_id, progress,
      origin_id, redriven_from, (
        select d.id from callplane.jobs d
        where d.namespace = $1 and d.id = ${REDRIVEN_ID} and d.redriven_from = j.id
      ) as redriven_as,
      failure, result, error, message, run_at <= now() as is_due,
      (extract(epoch from created_at) * 1000)::int8 as created_at_ms,
      (extract(epoch from run_at) * 1000)::int8 as run_at_ms,
      (extract(epoch from started_at) * 1000)::int8 as started_at_ms,
      (extract(epoch from finished_at) * 1000)::int8 as finished_at_ms,
      (
        select jsonb_agg(jsonb_build_object('at_ms', s.at_ms, 'from_state', s.from_state, 'to_state', s.to_state,
          'fence', s.fence, 'attempt', s.attempt) order by s.fence, s.place)
        from (
          select (extract(epoch from e.at) * 1000)::int8 as at_ms, e.from_state, e.to_state, e.fence, e.attempt,
            case when e.to_state in ('succeeded', 'failed', 'cancelled') then 3
              when e.from_state = 'running' then 2 when e.from_state = 'pending' then 1 else 0 end as place
          from callplane.events e
          where e.namespace = $1 and e.subject_id = $2::uuid and e.to_state is not null
          order by e.fence desc nulls last, place desc
          limit $4::int8
        ) s
      ) as steps,
      exists (
        select 1 from callplane.functions f
        where f.namespace = $1 and f.service = j.service and f.name = j.function
      ) as is_served
    from callplane.jobs j
    where namespace = $1 and id = $2::uuid and ($3::text[] is null or service = any($3::text[]))`,
    [namespace, id, services, MAX_STEPS],
  )
  if (job === undefined) return null
  const ended = await sql<AttemptRow>(
    /* sql */ `
    select attempt, fence, runner_id, outcome, message,
      case when sum(octet_length(error)) over (order by fence desc) <= $3::int8 then error end as error,
      (extract(epoch from started_at) * 1000)::int8 as started_at_ms,
      (extract(epoch from ended_at) * 1000)::int8 as ended_at_ms
    from callplane.attempts
    where namespace = $1 and job_id = $2::uuid
    order by fence`,
    [namespace, id, MAX_ATTEMPT_ERROR_BYTES],
  )
  return {
    id: job.id,
    service: job.service,
    function: job.function,
    state: job.state,
    attempt: job.attempt,
    maxAttempts: job.max_attempts,
    createdAtMs: job.created_at_ms,
    runAtMs: job.run_at_ms,
    finishedAtMs: job.finished_at_ms,
    parent: job.parent_id,
    origin: job.origin_id,
    redrivenFrom: job.redriven_from,
    redrivenAs: job.redriven_as,
    progress: job.progress,
    outcome: IS_FINAL[job.state] ? outcomeOf(job) : null,
    failure: job.failure,
    isDue: job.is_due,
    isServed: job.is_served,
    attempts: [...ended.map(endedAttempt), ...runningAttempt(job)],
    steps: (job.steps ?? []).map(({ at_ms: atMs, from_state: from, to_state: to, fence, attempt }) => {
      return { atMs, from, to, fence, attempt }
    }),
  }
}

type StepRow = { at_ms: number; from_state: JobState | null; to_state: JobState; fence: number; attempt: number }

function endedAttempt(row: AttemptRow): AttemptRecord {
  return {
    attempt: row.attempt,
    fence: row.fence,
    runner: row.runner_id,
    startedAtMs: row.started_at_ms,
    endedAtMs: row.ended_at_ms,
    outcome: row.outcome,
    error: row.error,
    message: row.message,
  }
}

function runningAttempt(job: JobRow): AttemptRecord[] {
  if (job.state !== 'running' || job.runner_id === null || job.started_at_ms === null) return []
  const { attempt, fence, runner_id: runner, started_at_ms: startedAtMs } = job
  return [{ attempt, fence, runner, startedAtMs, endedAtMs: null, outcome: null, error: null, message: null }]
}
