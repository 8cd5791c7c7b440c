// The model of what runners report: complete, fail, heartbeat.
import type { Row } from '../../../src/db/sql.ts'
import { instant, int8, list, text, type Run, type Statement } from './statement.ts'
import { NO_LEASE, type JobRow } from './tables.ts'

interface Sent {
  id: string
  token: string
}

function sentOf(run: Run): Sent[] {
  const tokens = list<string>(run, 3)
  return list<string>(run, 2).map((id, index) => ({ id, token: tokens[index] ?? '' }))
}

/** The job, if it runs under this token. */
function heldBy({ tables }: Run, namespace: string, { id, token }: Sent, isAnyToken: boolean): JobRow | null {
  const job = tables.job(namespace, id)
  if (job?.state !== 'running') return null
  return job.lease_token === token || isAnyToken ? job : null
}

/** What became of attempts that hold nothing any more. */
export const findEnded: Statement = {
  name: 'find ended',
  marks: ['join callplane.attempts a on a.namespace = s.namespace and a.job_id = s.id and a.token = s.token'],
  begin(run) {
    const { tables, nowMs } = run
    const namespace = text(run, 1)
    const rows = sentOf(run).flatMap(({ id, token }): Row[] => {
      const ended = tables.attempts(namespace, id).find((attempt) => attempt.token === token)
      const job = tables.job(namespace, id)
      if (ended === undefined || job === undefined) return []
      const { state, service, run_at } = job
      return [{ id, token, outcome: ended.outcome, state, service, due_in_ms: int8(run_at - nowMs) }]
    })
    return () => rows
  },
}

export const complete: Statement = {
  name: 'complete',
  marks: ["set state = 'succeeded', result = s.result"],
  begin(run) {
    const { tables, nowMs } = run
    const namespace = text(run, 1)
    const results = list<Uint8Array>(run, 4)
    const sent = sentOf(run)
    const isAnyToken = run.has('complete-takes-old-token')
    return () =>
      sent.flatMap((one, index): Row[] => {
        const job = heldBy(run, namespace, one, isAnyToken)
        if (job === null) return []
        const result = results[index] ?? null
        tables.update(job, { state: 'succeeded', result, finished_at: nowMs, ...NO_LEASE, ...counted(run, job) })
        tables.keep(job, { ended_at: nowMs, outcome: 'succeeded' })
        return [{ ...one }]
      })
  },
}

export const fail: Statement = {
  name: 'fail',
  marks: ['is_retryable', 'told as ('],
  begin(run) {
    const { nowMs } = run
    const namespace = text(run, 1)
    const errors = list<Uint8Array>(run, 4)
    const retryable = list<boolean>(run, 5)
    const isAnyToken = run.has('fail-takes-old-token')
    const sent = sentOf(run)
    return () =>
      sent.flatMap((one, index): Row[] => {
        const job = heldBy(run, namespace, one, isAnyToken)
        if (job === null) return []
        const { state, failure, service, run_at } = failed(run, job, errors[index] ?? null, retryable[index] === true)
        return [{ ...one, state, failure, service, due_in_ms: int8(run_at - nowMs) }]
      })
  },
}

function failed(run: Run, job: JobRow, error: Uint8Array | null, isRetryable: boolean): JobRow {
  const { tables, nowMs } = run
  const { retry } = job
  const isTimedOut = job.timeout_at !== null && job.timeout_at <= nowMs
  const isCovered = retry !== null && (isTimedOut ? retry.on.includes('timeout') : isRetryable)
  const isTriedAgain = isCovered && job.attempt < job.max_attempts
  const outcome = isTimedOut ? 'timed_out' : 'threw'
  const thrown = isTimedOut ? null : error
  const message = isTimedOut ? `attempt ${job.attempt} ran longer than its timeout` : null
  const again = { state: 'pending' as const, run_at: instant(nowMs + backoffMs(run, job)) }
  const end = { state: 'failed' as const, finished_at: nowMs, failure: outcome, error: thrown, message } as const
  const after = tables.update(job, { ...(isTriedAgain ? again : end), ...NO_LEASE, ...counted(run, job) })
  tables.keep(job, { ended_at: nowMs, outcome, error: thrown, message })
  return after
}

/** The wait before the attempt after this one. */
export function backoffMs({ random }: Run, { retry, attempt }: JobRow): number {
  if (retry === null) return 0
  const longestMs = Math.min(retry.maxMs, retry.initialMs * retry.factor ** Math.min(attempt - 1, 100))
  return retry.isJittered ? longestMs * random() : longestMs
}

/** A planted bug: the attempt is counted by whoever ends it. */
export function counted({ has }: Run, { attempt, max_attempts: max }: JobRow): Partial<JobRow> {
  return has('attempt-counted-at-failure') ? { attempt: Math.min(attempt + 1, max) } : {}
}

export const heartbeat: Statement = {
  name: 'heartbeat',
  marks: ['progress = coalesce(s.progress, j.progress)'],
  begin(run) {
    const { tables, nowMs } = run
    const namespace = text(run, 1)
    const progress = list<Uint8Array | null>(run, 4)
    const sent = sentOf(run)
    return () =>
      sent.flatMap((one, index): Row[] => {
        const job = heldBy(run, namespace, one, run.has('heartbeat-takes-old-token'))
        if (job === null || (job.timeout_at !== null && job.timeout_at <= nowMs)) return []
        const renewed = Math.min(nowMs + job.lease_ms, job.timeout_at ?? Infinity)
        const isShortened = run.has('heartbeat-shortens-lease')
        tables.update(job, {
          lease_expires_at: isShortened ? renewed : Math.max(job.lease_expires_at ?? renewed, renewed),
          progress: progress[index] ?? job.progress,
        })
        return [{ token: one.token }]
      })
  },
}
