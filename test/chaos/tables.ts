// The end of a run as the database has it: every job and every attempt, for the checker.
import type { Sql } from '../../src/db/sql.ts'
import { decodePayload } from '../../src/protocol/codec.ts'
import type { JobState } from '../../src/protocol/job.ts'

export interface JobRow {
  namespace: string
  id: string
  /** The number that the caller gave it. */
  call: number
  state: JobState
  failure: string | null
  message: string | null
  attempt: number
  maxAttempts: number
  fence: number
  createdAtMs: number
  /** The fence in the stored result. */
  resultFence: number | null
}

export interface AttemptRow {
  namespace: string
  job: string
  fence: number
  attempt: number
  outcome: string
  startedAtMs: number
  endedAtMs: number
}

export interface Tables {
  jobs: JobRow[]
  attempts: AttemptRow[]
}

type StoredJob = Omit<JobRow, 'call' | 'resultFence'> & { args: Uint8Array; result: Uint8Array | null }

export async function readTables(sql: Sql): Promise<Tables> {
  const jobs = await sql<StoredJob>(/* sql all namespaces */ `
    select namespace, id, state, failure, message, attempt, max_attempts as "maxAttempts", fence, args, result,
      (extract(epoch from created_at) * 1000)::float8 as "createdAtMs"
    from callplane.jobs`)
  const attempts = await sql<AttemptRow & { [column: string]: string | number }>(/* sql all namespaces */ `
    select namespace, job_id as job, fence, attempt, outcome,
      (extract(epoch from started_at) * 1000)::float8 as "startedAtMs",
      (extract(epoch from ended_at) * 1000)::float8 as "endedAtMs"
    from callplane.attempts`)
  return { jobs: jobs.map(toJobRow), attempts }
}

function toJobRow({ args, result, ...job }: StoredJob): JobRow {
  const [call] = decodePayload(args) as [number] // callers here give every call its number first
  const returned = result === null ? null : (decodePayload(result) as { fence: number }) // as every function here returns
  return { ...job, call, resultFence: returned?.fence ?? null }
}

/** Jobs that have not ended. */
export async function countOpen(sql: Sql): Promise<number> {
  const [row] = await sql<{ open: number }>(/* sql all namespaces */ `
    select count(*) as open from callplane.jobs
    where state in ('pending', 'running')`)
  return row?.open ?? 0
}
