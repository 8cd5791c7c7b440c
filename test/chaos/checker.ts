// Reads a history beside the tables at its end, and finds each way in which they break a promise. Linear in both.
import type { Recorded } from './history.ts'
import type { AttemptRow, JobRow, Tables } from './tables.ts'

/** Each finding is a sentence about one call or job. */
export interface Findings {
  /** Calls that the plane said it has. */
  accepted: number
  /** Accepted, and there is no such job, or it never ended. */
  lost: string[]
  /** A completion applied twice, a call that became two jobs, or two live leases of one job at once. */
  doubled: string[]
  /** The stored result is that of an attempt other than the one that held the lease. */
  stale: string[]
  /** A job not ended at the end, or a caller still waiting. */
  stuck: string[]
  executionsOverAttempts: string[]
  /** Two executions of a job under one fence. */
  fencesRepeated: string[]
  /** What a caller was told and what is stored are not the same. */
  contradicted: string[]
  /** An execution by a runner of another namespace. */
  crossed: string[]
}

/** A lease ends and the next begins by now() of two statements, which is when they arrived, not when they took effect. */
const CLOCK_SLACK_MS = 1_000

type EventOf<K extends Recorded['kind']> = Extract<Recorded, { kind: K }>

export function check(history: readonly Recorded[], { jobs, attempts }: Tables): Findings {
  const byCall = Map.groupBy(jobs, (job) => job.call)
  const byJob = new Map(jobs.map((job) => [job.id, job]))
  const ended = Map.groupBy(attempts, (attempt) => attempt.job)
  const executions = Map.groupBy(only(history, 'execution'), (execution) => execution.job)
  const told = Map.groupBy(history.filter(isEnd), (event) => event.call)
  const accepted = acceptedCalls(history)
  return {
    accepted: accepted.size,
    lost: [...accepted].flatMap(([call, id]) => lostFault(call, id, byCall.get(call) ?? [])),
    doubled: [
      ...[...byCall].filter(([, rows]) => rows.length > 1).map(([call, rows]) => `call ${call} is ${rows.length} jobs`),
      ...jobs.flatMap((job) => leaseFaults(job, ended.get(job.id) ?? [])),
      ...[...told].filter(([, events]) => events.length > 1).map(([call]) => `the caller of ${call} was told two ends`),
    ],
    stale: jobs.flatMap((job) => staleFaults(job, ended.get(job.id) ?? [])),
    stuck: [
      ...jobs.filter(isOpen).map((job) => `${nameOf(job)} is ${job.state} at the end`),
      ...only(history, 'invoke')
        .filter(({ call }) => !told.has(call))
        .map(({ call }) => `the caller of ${call} still waits`),
    ],
    executionsOverAttempts: [...executions].flatMap(([id, begun]) => attemptFaults(begun, byJob.get(id))),
    fencesRepeated: [...executions.values()].flatMap(fenceFaults),
    contradicted: [
      ...[...told].flatMap(([call, [event]]) => contradiction(call, event, byCall.get(call)?.[0])),
      ...only(history, 'cancel').flatMap((event) => cancelFaults(event, byCall.get(event.call)?.[0])),
    ],
    crossed: [...executions].flatMap(([id, begun]) => crossings(begun, byJob.get(id))),
  }
}

function only<K extends Recorded['kind']>(history: readonly Recorded[], kind: K): EventOf<K>[] {
  return history.filter((event): event is EventOf<K> => event.kind === kind)
}

type End = EventOf<'ok' | 'fail' | 'unknown'>

function isEnd(event: Recorded): event is End {
  return event.kind === 'ok' || event.kind === 'fail' || event.kind === 'unknown'
}

const isOpen = ({ state }: JobRow): boolean => state === 'pending' || state === 'running'
const nameOf = ({ id, call }: JobRow): string => `job ${id} of call ${call}`

/** By number, with the id where the caller learnt it. To be told an end is to be told that the plane has the call. */
function acceptedCalls(history: readonly Recorded[]): Map<number, string | null> {
  const accepted = new Map<number, string | null>()
  for (const event of history) {
    if (event.kind === 'accepted') accepted.set(event.call, event.id)
    else if ((event.kind === 'ok' || event.kind === 'fail') && !accepted.has(event.call)) accepted.set(event.call, null)
  }
  return accepted
}

function lostFault(call: number, id: string | null, rows: readonly JobRow[]): string[] {
  const job = id === null ? rows[0] : rows.find((row) => row.id === id)
  if (job === undefined) return [`call ${call} was accepted${id === null ? '' : ` as ${id}`}, and there is no job`]
  return isOpen(job) ? [`call ${call} was accepted, and ${nameOf(job)} never ended`] : []
}

function leaseFaults(job: JobRow, ended: readonly AttemptRow[]): string[] {
  const inOrder = ended.toSorted((a, b) => a.fence - b.fence)
  const successes = inOrder.filter(({ outcome }) => outcome === 'succeeded')
  const faults = successes.length > 1 ? [`${nameOf(job)} succeeded ${successes.length} times`] : []
  for (const [index, attempt] of inOrder.entries()) {
    const before = inOrder[index - 1]
    if (before === undefined || attempt.startedAtMs >= before.endedAtMs - CLOCK_SLACK_MS) continue
    faults.push(`${nameOf(job)} had two leases at once: fences ${before.fence} and ${attempt.fence}`)
  }
  return faults
}

function staleFaults(job: JobRow, ended: readonly AttemptRow[]): string[] {
  const faults: string[] = []
  if (job.state === 'succeeded' && job.resultFence !== job.fence) {
    faults.push(`${nameOf(job)} keeps a result of fence ${job.resultFence}, and its last fence is ${job.fence}`)
  }
  const success = ended.find(({ outcome }) => outcome === 'succeeded')
  if (success !== undefined && success.fence !== job.fence) {
    faults.push(`${nameOf(job)} succeeded with fence ${success.fence} and went on to ${job.fence}`)
  }
  return faults
}

function attemptFaults(begun: readonly unknown[], job: JobRow | undefined): string[] {
  if (job === undefined || begun.length <= job.maxAttempts) return []
  return [`${nameOf(job)} ran ${begun.length} times and has ${job.maxAttempts} attempts`]
}

function fenceFaults(begun: readonly EventOf<'execution'>[]): string[] {
  const seen = new Map<number, EventOf<'execution'>>()
  return begun.flatMap((execution) => {
    const { job, fence, runner } = execution
    const before = seen.get(fence)
    seen.set(fence, execution)
    return before === undefined ? [] : [`job ${job} ran under fence ${fence} at ${before.runner} and at ${runner}`]
  })
}

/** What the caller hears of a failed job, by the reason in its row. */
const CODES: Record<string, string> = {
  threw: 'threw',
  timed_out: 'call_timed_out',
  stalled: 'call_stalled',
  expired: 'call_expired',
}

function contradiction(call: number, told: End | undefined, job: JobRow | undefined): string[] {
  if (told === undefined || told.kind === 'unknown' || job === undefined || isOpen(job)) return []
  const stored = job.state === 'failed' ? (CODES[job.failure ?? ''] ?? '?') : job.state
  if (told.kind === 'fail') {
    const code = stored === 'cancelled' ? 'call_cancelled' : stored
    return told.code === code ? [] : [`the caller of ${call} was told ${told.code}, and ${nameOf(job)} is ${stored}`]
  }
  if (stored === 'succeeded' && told.fence === job.resultFence) return []
  return [`the caller of ${call} got the result of fence ${told.fence}; ${nameOf(job)}: ${stored}, ${job.resultFence}`]
}

function cancelFaults({ call, state }: EventOf<'cancel'>, job: JobRow | undefined): string[] {
  if (job === undefined || state === job.state) return []
  return [`the cancel of ${call} was answered ${state}, and ${nameOf(job)} is ${job.state}`]
}

function crossings(begun: readonly EventOf<'execution'>[], job: JobRow | undefined): string[] {
  const [first] = begun
  if (first === undefined) return []
  if (job === undefined) return [`job ${first.job} ran, and there is no such job`]
  return begun
    .filter(({ namespace }) => namespace !== job.namespace)
    .map(({ namespace }) => `${nameOf(job)} of ${job.namespace} ran in ${namespace}`)
}
