// The model of the sweep: the look for what is overdue, and its duties.
import type { Row } from '../../../src/db/sql.ts'
import { backoffMs, counted } from './reports.ts'
import { instant, int8, integer, keyOf, list, type Run, type Statement } from './statement.ts'
import { NO_LEASE, type JobRow } from './tables.ts'

/** The jobs but for those of the namespaces that are passed over. */
function* exceptOf(run: Run, place: number, jobs: Iterable<JobRow>): Generator<JobRow> {
  const except = new Set(list<string>(run, place))
  for (const job of jobs) if (!except.has(job.namespace)) yield job
}

/** The first so many of the rows that are due and not locked, by when they were due; and what lets them go. */
function overdue(
  run: Run,
  jobs: Iterable<JobRow>,
  dueAt: (job: JobRow) => number | null,
): { jobs: JobRow[]; unlock: () => void } {
  const due: { job: JobRow; atMs: number }[] = []
  for (const job of jobs) {
    const atMs = dueAt(job)
    if (atMs !== null && atMs <= run.nowMs && run.locks.isFree(keyOf(job))) due.push({ job, atMs })
  }
  const first = due
    .toSorted((a, b) => a.atMs - b.atMs)
    .slice(0, integer(run, 1))
    .map(({ job }) => job)
  return { jobs: first, unlock: run.locks.take(first.map(keyOf)) }
}

export const expire: Statement = {
  name: 'expire',
  marks: ["set state = 'failed', failure = 'expired'"],
  begin(run) {
    const { tables, nowMs } = run
    const { jobs, unlock } = overdue(run, exceptOf(run, 2, tables.open()), (job) => job.deadline_at)
    return () => {
      unlock()
      return jobs.flatMap((seen): Row[] => {
        const job = tables.job(seen.namespace, seen.id)
        const isSame = job?.state === seen.state && job.lease_token === seen.lease_token
        if (job === undefined || (!isSame && !run.has('expire-without-state-guard'))) return []
        const message = `the deadline of the call passed ${whileWhat(seen)}`
        const end = { state: 'failed', failure: 'expired', message, finished_at: nowMs } as const
        tables.update(job, { ...end, ...NO_LEASE })
        if (seen.lease_token !== null) tables.keep(seen, { ended_at: nowMs, outcome: 'expired', message })
        return [{ namespace: job.namespace, id: job.id, service: job.service, state: 'failed', due_in_ms: 0 }]
      })
    }
  },
}

function whileWhat({ state, attempt }: JobRow): string {
  if (state === 'running') return `while attempt ${attempt} ran`
  return attempt === 0 ? 'before a runner took it' : 'between two attempts'
}

export const stall: Statement = {
  name: 'stall',
  marks: ['went silent: it crashed, froze or lost its network'],
  begin(run) {
    const { tables, nowMs } = run
    const { jobs, unlock } = overdue(run, exceptOf(run, 4, tables.running()), (job) => job.lease_expires_at)
    return () => {
      unlock()
      return jobs.flatMap((seen): Row[] => {
        const job = tables.job(seen.namespace, seen.id)
        if (job?.state !== 'running' || job.lease_token !== seen.lease_token) return []
        const isExpired = job.lease_expires_at !== null && job.lease_expires_at <= nowMs
        return isExpired || run.has('sweep-without-expiry-guard')
          ? [stalled(run, job, seen, placeOf(run, jobs, seen))]
          : []
      })
    }
  },
}

function stalled(run: Run, job: JobRow, seen: JobRow, place: number): Row {
  const { tables, nowMs } = run
  const { attempt, max_attempts: max, retry, timeout_ms: timeoutMs } = seen
  const isOver = isTimedOut(run, seen)
  const outcome = isOver ? 'timed_out' : 'stalled'
  const message = isOver
    ? `attempt ${attempt} ran longer than ${timeoutMs} ms`
    : `the runner of attempt ${attempt} went silent: it crashed, froze or lost its network`
  const isCovered = isOver ? retry?.on.includes('timeout') === true : (retry?.on.includes('stall') ?? true)
  const isTriedAgain = attempt < max && isCovered
  const again = {
    state: 'pending',
    run_at: instant(nowMs + (isOver ? backoffMs(run, seen) : 0) + place * integer(run, 3)),
    message: null,
  } as const
  const told = max === 1 ? message : `${message}; ${attempt} of ${max} attempts were made`
  const end = { state: 'failed', finished_at: nowMs, failure: outcome, message: told } as const
  const after = tables.update(job, { ...(isTriedAgain ? again : end), ...NO_LEASE, ...counted(run, job) })
  tables.keep(seen, { ended_at: nowMs, outcome, message })
  return {
    namespace: after.namespace,
    id: after.id,
    service: after.service,
    state: after.state,
    due_in_ms: int8(after.run_at - nowMs),
  }
}

/** Silences come back apart from the second on: each of one statement in a place of its own, by its id. */
function placeOf(run: Run, jobs: readonly JobRow[], seen: JobRow): number {
  const isAgainSilent = (job: JobRow) => !isTimedOut(run, job) && job.attempt > 1
  if (!isAgainSilent(seen)) return 0
  const before = jobs.filter((job) => isAgainSilent(job) && job.id < seen.id)
  return before.length % integer(run, 2)
}

function isTimedOut({ nowMs }: Run, { timeout_at: timeoutAt }: JobRow): boolean {
  return timeoutAt !== null && timeoutAt <= nowMs
}

export const nextDuties: Statement = {
  name: 'next duties',
  marks: ['as retention', 'min(lease_expires_at)'],
  begin(run) {
    const { tables, nowMs } = run
    const inMs = (atMs: number) => (atMs === Infinity ? null : int8(atMs - nowMs))
    let lease = Infinity
    let deadline = Infinity
    let delay = Infinity
    const sinceMs = nowMs - integer(run, 2)
    for (const job of exceptOf(run, 3, tables.open())) {
      const isDelayed = job.state === 'pending' && job.run_at > job.created_at && job.run_at > sinceMs
      if (isDelayed) delay = Math.min(delay, job.run_at)
      lease = Math.min(lease, job.lease_expires_at ?? Infinity)
      deadline = Math.min(deadline, job.deadline_at ?? Infinity)
    }
    const retention = inMs(tables.firstEndMs())
    const row = {
      lease: inMs(lease),
      deadline: inMs(deadline),
      delay: inMs(delay),
      retention: retention === null ? null : retention + integer(run, 1),
      events: tables.forgotten.length === 0 ? null : int8(Math.min(...tables.forgotten) - nowMs) + integer(run, 4),
    }
    return () => [row]
  },
}

export const overdueNamespaces: Statement = {
  name: 'overdue namespaces',
  marks: ['select distinct namespace', 'union'],
  begin(run) {
    const { tables, nowMs } = run
    const sinceMs = nowMs - integer(run, 1)
    const namespaces = new Set<string>()
    for (const { namespace, state, run_at, created_at, lease_expires_at, deadline_at } of tables.open()) {
      const isDelayed = state === 'pending' && run_at > created_at && run_at > sinceMs && run_at <= nowMs
      const isOver = (lease_expires_at ?? Infinity) <= nowMs || (deadline_at ?? Infinity) <= nowMs
      if (isDelayed || isOver) namespaces.add(namespace)
    }
    return () => [...namespaces].map((namespace): Row => ({ namespace }))
  },
}

export const justDue: Statement = {
  name: 'just due',
  marks: ['run_at > created_at', '0::int8 as due_in_ms'],
  begin(run) {
    const { tables, nowMs } = run
    const sinceMs = nowMs - integer(run, 2)
    const due = [...exceptOf(run, 3, tables.open())].filter(({ state, run_at, created_at }) => {
      return state === 'pending' && run_at > created_at && run_at > sinceMs && run_at <= nowMs
    })
    const rows = due
      .toSorted((a, b) => a.run_at - b.run_at)
      .slice(0, integer(run, 1))
      .map(({ namespace, id, service }): Row => ({ namespace, id, service, state: 'due', due_in_ms: 0 }))
    return () => rows
  },
}

export const forgetJobs: Statement = {
  name: 'forget jobs',
  marks: ['delete from callplane.attempts'],
  begin(run) {
    const { tables, nowMs } = run
    const beforeMs = nowMs - integer(run, 1)
    const isOld = (job: JobRow) => {
      return (run.has('retention-forgets-early') ? job.created_at : (job.finished_at ?? Infinity)) <= beforeMs
    }
    const old = [...tables.ended()]
      .filter((job) => isOld(job) && run.locks.isFree(keyOf(job)))
      .toSorted((a, b) => (a.finished_at ?? 0) - (b.finished_at ?? 0))
      .slice(0, integer(run, 2))
    const unlock = run.locks.take(old.map(keyOf))
    return () => {
      unlock()
      const found = old.filter(({ namespace, id }) => tables.job(namespace, id) !== undefined)
      for (const job of found) tables.delete(job)
      tables.forgotten.push(...found.map(() => nowMs))
      return [{ forgotten: found.length }]
    }
  },
}

/** Of the log, the model knows only when jobs were forgotten. */
export const forgetEvents: Statement = {
  name: 'forget events',
  marks: ['delete from callplane.events'],
  begin(run) {
    const { tables, nowMs } = run
    const beforeMs = nowMs - integer(run, 1)
    return () => {
      const gone = tables.forgotten.filter((atMs) => atMs <= beforeMs).slice(0, integer(run, 2))
      tables.forgotten.splice(0, gone.length)
      return [{ forgotten: gone.length }]
    }
  },
}
