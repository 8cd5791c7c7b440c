// The model of how runners get jobs, and how those come back that they never heard of.
import type { Row } from '../../../src/db/sql.ts'
import { int8, integer, json, keyOf, list, text, type Run, type Statement } from './statement.ts'
import { NO_LEASE, type JobRow } from './tables.ts'

interface Asked {
  service: string
  functions: ReadonlySet<string>
  capacity: number
}

export const claim: Statement = {
  name: 'claim',
  marks: ['fence = j.fence + 1', 'within_capacity'],
  begin(run) {
    const { tables, nowMs, has } = run
    const namespace = text(run, 1)
    const runnerId = text(run, 2)
    const claimId = text(run, 3)
    const asked = askedOf(run)
    const names = asked.map(({ service }) => service)
    const isHeld = heldBy(run, { namespace, runnerId, claimId, services: names }).length > 0
    const due = isHeld ? [] : asked.map((one) => ({ ...one, jobs: dueOf(run, namespace, one) }))
    const unlock = run.locks.take(due.flatMap(({ jobs }) => jobs.map(keyOf)))
    const fitting = fittingOf(
      due.flatMap(({ jobs, capacity }) => jobs.slice(0, capacity)),
      { maxJobs: integer(run, 7), maxBytes: integer(run, 8) },
    )
    const firstLeaseMs = integer(run, 9)

    return () => {
      unlock()
      const claimed: JobRow[] = []
      for (const { id } of fitting) {
        const job = tables.job(namespace, id)
        if (job === undefined || (job.state !== 'pending' && !has('claim-without-state-guard'))) continue
        const timeoutAt = job.timeout_ms === null ? null : nowMs + job.timeout_ms
        const leaseEnd = nowMs + Math.min(job.lease_ms, firstLeaseMs)
        const attempt = has('attempt-counted-at-failure') ? job.attempt : job.attempt + 1
        claimed.push(
          tables.update(job, {
            state: 'running',
            attempt,
            fence: has('fence-follows-attempt') ? attempt : job.fence + 1,
            lease_token: run.uuid(),
            runner_id: runnerId,
            claim_id: claimId,
            is_redelivered: false,
            started_at: nowMs,
            progress: null,
            timeout_at: timeoutAt,
            lease_expires_at: timeoutAt === null ? leaseEnd : Math.min(leaseEnd, timeoutAt),
          }),
        )
      }
      const taken = new Set(claimed.map((job) => job.id))
      const leftOver = due.flatMap(({ service, jobs }) => (jobs.some((job) => !taken.has(job.id)) ? [service] : []))
      const look = { is_held: isHeld, left_over: leftOver.length === 0 ? null : [...new Set(leftOver)].toSorted() }
      // The look itself is a row where no job is.
      if (claimed.length === 0) return [{ ...NO_JOB, ...look }]
      return claimed.toSorted(inOrder).map((job) => ({ ...rowOf(job, nowMs), ...look }))
    }
  },
}

function askedOf(run: Run): Asked[] {
  const functions = list<string>(run, 5)
  const capacities = list<number>(run, 6)
  return list<string>(run, 4).map((service, index) => ({
    service,
    functions: new Set(JSON.parse(functions[index] ?? '[]') as string[]), // names, as claimJobs writes them
    capacity: capacities[index] ?? 0,
  }))
}

/** In the order of the claim, one more than there is capacity for. */
function dueOf({ tables, nowMs, locks }: Run, namespace: string, { service, functions, capacity }: Asked): JobRow[] {
  const due: JobRow[] = []
  for (const job of tables.pending(namespace, service)) {
    const isDue = job.run_at <= nowMs && (job.deadline_at === null || job.deadline_at > nowMs)
    if (isDue && functions.has(job.function) && locks.isFree(keyOf(job))) due.push(job)
  }
  return due.toSorted(inOrder).slice(0, capacity + 1)
}

/** As many as one answer may hold; the first whatever its size. */
function fittingOf(jobs: readonly JobRow[], { maxJobs, maxBytes }: { maxJobs: number; maxBytes: number }): JobRow[] {
  let bytes = 0
  return jobs.toSorted(inOrder).filter((job, index) => {
    bytes += job.args.length
    return index < maxJobs && (bytes <= maxBytes || index === 0)
  })
}

function inOrder(a: JobRow, b: JobRow): number {
  return b.priority - a.priority || a.run_at - b.run_at || (a.id < b.id ? -1 : 1)
}

function rowOf(job: JobRow, nowMs: number): Row {
  return {
    id: job.id,
    service: job.service,
    function: job.function,
    args: job.args,
    token: job.lease_token,
    attempt: job.attempt,
    max_attempts: job.max_attempts,
    fence: job.fence,
    parent_id: job.parent_id,
    lease_left_ms: int8((job.lease_expires_at ?? nowMs) - nowMs),
    timeout_left_ms: job.timeout_at === null ? null : int8(job.timeout_at - nowMs),
    retry_on: json(job.retry?.on ?? null),
  }
}

const NO_JOB: Row = {
  id: null,
  service: null,
  function: null,
  args: null,
  token: null,
  attempt: null,
  max_attempts: null,
  fence: null,
  parent_id: null,
  lease_left_ms: null,
  timeout_left_ms: null,
  retry_on: null,
}

/** What a claim of a runner holds. */
interface Holder {
  namespace: string
  runnerId: string
  claimId: string
  services: readonly string[]
}

function heldBy({ tables }: Run, holder: Holder): JobRow[] {
  const held: JobRow[] = []
  for (const job of tables.running()) if (holds(holder, job)) held.push(job)
  return held
}

function holds({ namespace, runnerId, claimId, services }: Holder, job: JobRow): boolean {
  const isOfClaim = job.state === 'running' && job.runner_id === runnerId && job.claim_id === claimId
  return isOfClaim && job.namespace === namespace && services.includes(job.service)
}

export const redeliver: Statement = {
  name: 'redeliver',
  marks: ['set is_redelivered = true'],
  begin(run) {
    const { tables, nowMs } = run
    const holder: Holder = {
      namespace: text(run, 1),
      runnerId: text(run, 2),
      claimId: text(run, 3),
      services: list<string>(run, 4),
    }
    const held = heldBy(run, holder)
    const firstLeaseMs = integer(run, 5)
    return () => {
      const again = held.flatMap(({ namespace, id }) => {
        const job = tables.job(namespace, id)
        if (job === undefined || !holds(holder, job)) return []
        const anew = Math.min(nowMs + Math.min(job.lease_ms, firstLeaseMs), job.timeout_at ?? Infinity)
        const token = run.has('redelivery-makes-new-tokens') ? { lease_token: run.uuid() } : {}
        const lease_expires_at = Math.max(job.lease_expires_at ?? anew, anew)
        return [tables.update(job, { is_redelivered: true, lease_expires_at, ...token })]
      })
      return again.toSorted(inOrder).map((job) => rowOf(job, nowMs))
    }
  },
}

export const giveBack: Statement = {
  name: 'give back',
  marks: ['given_back = j.given_back + 1'],
  begin(run) {
    const { tables, has } = run
    const namespace = text(run, 1)
    const tokens = list<string>(run, 3)
    const most = has('give-back-without-bound') ? Infinity : integer(run, 4)
    const ids = list<string>(run, 2)
    return () =>
      ids.flatMap((id, index): Row[] => {
        const job = tables.job(namespace, id)
        const isHeld = job?.state === 'running' && job.lease_token === tokens[index]
        if (job === undefined || !isHeld || job.given_back >= most) return []
        if (job.is_redelivered && !has('give-back-of-redelivered')) return []
        tables.update(job, {
          state: 'pending',
          attempt: has('attempt-counted-at-failure') ? job.attempt : job.attempt - 1,
          given_back: job.given_back + 1,
          ...NO_LEASE,
          timeout_at: null,
        })
        return [{ id, service: job.service }]
      })
  },
}
