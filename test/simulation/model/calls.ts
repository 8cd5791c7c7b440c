// The model of what callers do: enqueue, cancel, look for outcomes, read one job.
import type { Row, SqlValue } from '../../../src/db/sql.ts'
import type { StoredRetry } from '../../../src/jobs/retry.ts'
import { int8, integer, json, list, listOrNull, text, type Run, type Statement } from './statement.ts'
import { NO_LEASE, type JobRow } from './tables.ts'

interface SentCall {
  id: string
  madeAtMs: number
  service: string
  function: string
  args: Uint8Array
  digest: Uint8Array
  parent: string | null
  delayMs: number | null
  priority: number | null
  timeoutMs: number | null
  deadlineMs: number | null
  retry: string | null
  runner: string | null
  claim: string | null
}

function sentCalls(run: Run): SentCall[] {
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- as in list
  const column = <T>(place: number, index: number): T => list<T>(run, place)[index] as T // columns of one length
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- as in list
  const padded = <T>(place: number, index: number): T | null => list<T | null>(run, place)[index] ?? null
  return list<string>(run, 2).map((id, index) => ({
    id,
    madeAtMs: column<number>(3, index),
    service: column<string>(4, column<number>(18, index) - 1),
    function: column<string>(5, column<number>(18, index) - 1),
    args: column<Uint8Array>(6, index),
    digest: column<Uint8Array>(7, index),
    parent: padded<string>(8, index),
    delayMs: padded<number>(9, index),
    priority: padded<number>(10, index),
    timeoutMs: padded<number>(11, index),
    deadlineMs: padded<number>(12, index),
    retry: padded<string>(15, index),
    runner: padded<string>(19, index),
    claim: padded<string>(20, index),
  }))
}

export const enqueue: Statement = {
  name: 'enqueue',
  marks: [
    'insert into callplane.jobs (namespace, id, service, function, args, args_digest, parent_id, origin_id, priority',
  ],
  begin(run) {
    const { tables, nowMs } = run
    const namespace = text(run, 1)
    const sent = sentCalls(run).filter(({ madeAtMs }) => isInTime(run, madeAtMs, { oldest: 13, newest: 14 }))
    return () =>
      sent.flatMap((call): Row[] => {
        const twin = tables.job(namespace, call.id)
        const isOverwritten = run.has('create-twice-overwrites') && twin?.state === 'running'
        if (twin !== undefined && !isOverwritten) return []
        const job = newJob(run, namespace, call)
        tables.insert(job)
        const inMs = (at: number | null) => (at === null ? null : int8(at - nowMs))
        return [
          {
            id: call.id,
            deadline_in_ms: inMs(job.deadline_at),
            token: job.lease_token,
            max_attempts: job.max_attempts,
            lease_left_ms: inMs(job.lease_expires_at),
            timeout_left_ms: inMs(job.timeout_at),
            retry_on: json(job.retry?.on ?? null),
          },
        ]
      })
  },
}

export const findEnqueued: Statement = {
  name: 'find enqueued',
  marks: ['as is_in_time', 'as is_same'],
  begin(run) {
    const namespace = text(run, 1)
    // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- as in list
    const column = <T>(place: number, index: number): T => list<T>(run, place)[index] as T // columns of one length
    const rows = list<string>(run, 2).map((id, index): Row => {
      const known = run.tables.job(namespace, id)
      const sent = {
        service: column<string>(4, index),
        function: column<string>(5, index),
        digest: column<Uint8Array>(6, index),
      }
      return {
        id,
        is_known: known !== undefined,
        is_same: known !== undefined && isSameCall(known, sent),
        is_in_time: isInTime(run, column<number>(3, index), { oldest: 7, newest: 8 }),
      }
    })
    return () => rows
  },
}

function isInTime(run: Run, madeAtMs: number, places: { oldest: number; newest: number }): boolean {
  const nowMs = int8(run.epochMs + run.nowMs)
  return madeAtMs >= nowMs - integer(run, places.oldest) && madeAtMs <= nowMs + integer(run, places.newest)
}

function isSameCall(job: JobRow, call: Pick<SentCall, 'service' | 'function' | 'digest'>): boolean {
  if (job.service !== call.service || job.function !== call.function) return false
  return job.args_digest.length === call.digest.length && job.args_digest.every((byte, at) => byte === call.digest[at])
}

/** What registration stored of a function; a number of the policy is null where it says nothing. */
function newJob(run: Run, namespace: string, call: SentCall): JobRow {
  const { tables, nowMs } = run
  const policy = tables.functions.get(`${namespace}/${call.service}/${call.function}`) ?? {}
  const numberOf = (name: string): number | null => (typeof policy[name] === 'number' ? policy[name] : null)
  const retry = (call.retry === null ? (policy['retry'] ?? null) : JSON.parse(call.retry)) as StoredRetry | null // as stored
  const deadlineMs = call.deadlineMs ?? numberOf('deadlineMs')
  const timeoutMs = call.timeoutMs ?? numberOf('timeoutMs')
  const leaseMs = numberOf('leaseMs') ?? integer(run, 17)
  const isClaimed = call.claim !== null
  return {
    namespace,
    id: call.id,
    service: call.service,
    function: call.function,
    state: isClaimed ? 'running' : 'pending',
    args: call.args,
    args_digest: call.digest,
    parent_id: call.parent,
    origin_id: call.id,
    redriven_from: null,
    created_at: nowMs,
    priority: call.priority ?? numberOf('priority') ?? 0,
    run_at: nowMs + (call.delayMs ?? 0),
    deadline_at: deadlineMs === null ? null : nowMs + deadlineMs,
    max_attempts: retry?.attempts ?? integer(run, 16),
    retry,
    timeout_ms: timeoutMs,
    lease_ms: leaseMs,
    attempt: isClaimed ? 1 : 0,
    fence: isClaimed ? 1 : 0,
    runner_id: call.runner,
    started_at: isClaimed ? nowMs : null,
    timeout_at: isClaimed && timeoutMs !== null ? nowMs + timeoutMs : null,
    progress: null,
    ...NO_LEASE,
    claim_id: call.claim,
    lease_token: isClaimed ? run.uuid() : null,
    lease_expires_at: isClaimed ? nowMs + Math.min(leaseMs, integer(run, 21), timeoutMs ?? Infinity) : null,
    is_redelivered: false,
    given_back: 0,
    finished_at: null,
    failure: null,
    result: null,
    error: null,
    message: null,
  }
}

export const cancel: Statement = {
  name: 'cancel',
  marks: ["set state = 'cancelled'"],
  begin(run) {
    const { tables, nowMs } = run
    const namespace = text(run, 1)
    const message = text(run, 3)
    const seen = visible(run, namespace, list<string>(run, 2), listOrNull<string>(run, 4))
    return () =>
      seen.map((before): Row => {
        const job = tables.job(namespace, before.id)
        const isOpen = job?.state === 'pending' || job?.state === 'running'
        const isFirst = job !== undefined && (isOpen || run.has('cancel-without-token-guard')) && isUnended(before)
        if (isFirst) {
          if (job.lease_token !== null) tables.keep(job, { ended_at: nowMs, outcome: 'cancelled', message })
          const lost = { result: null, failure: null, error: null }
          tables.update(job, { ...(isOpen ? {} : lost), state: 'cancelled', finished_at: nowMs, message, ...NO_LEASE })
        }
        return { id: before.id, state: isFirst ? 'cancelled' : before.state, is_first: isFirst }
      })
  },
}

const isUnended = ({ state }: JobRow): boolean => state === 'pending' || state === 'running'

function visible(
  { tables }: Run,
  namespace: string,
  ids: readonly string[],
  services: readonly string[] | null,
): JobRow[] {
  return ids.flatMap((id) => {
    const job = tables.job(namespace, id)
    return job === undefined || services?.includes(job.service) === false ? [] : [job]
  })
}

export const outcomes: Statement = {
  name: 'outcomes',
  marks: ['total_bytes > $4::int8', 'is_cut'],
  begin(run) {
    const maxBytes = integer(run, 4)
    const ids = list<string>(run, 2)
    const seen = visible(run, text(run, 1), ids, listOrNull<string>(run, 3))
    let bytes = 0
    const rows = seen
      .toSorted((a, b) => (a.id < b.id ? -1 : 1))
      .map((job, index): Row => {
        const payload = job.result ?? job.error
        bytes += payload?.length ?? 0
        const isCut = index > 0 && bytes > maxBytes && payload !== null
        const { id, state, failure, message } = job
        const { result, error } = isCut ? { result: null, error: null } : job
        return { id, state, failure, message, is_cut: isCut, result, error }
      })
    return () => rows
  },
}

export const findOne: Statement = {
  name: 'find one',
  marks: ['as is_served'],
  begin(run) {
    const { tables, nowMs, epochMs } = run
    const namespace = text(run, 1)
    const ms = (at: number | null) => (at === null ? null : int8(epochMs + at))
    const rows = visible(run, namespace, [text(run, 2)], listOrNull<string>(run, 3)).map((job): Row => ({
      id: job.id,
      service: job.service,
      function: job.function,
      state: job.state,
      attempt: job.attempt,
      max_attempts: job.max_attempts,
      fence: job.fence,
      runner_id: job.runner_id,
      parent_id: job.parent_id,
      origin_id: job.origin_id,
      redriven_from: job.redriven_from,
      // No statement of the model makes redrives.
      redriven_as: null,
      progress: job.progress,
      failure: job.failure,
      result: job.result,
      error: job.error,
      message: job.message,
      is_due: job.run_at <= nowMs,
      created_at_ms: ms(job.created_at),
      run_at_ms: ms(job.run_at),
      started_at_ms: ms(job.started_at),
      finished_at_ms: ms(job.finished_at),
      is_served: tables.functions.has(`${namespace}/${job.service}/${job.function}`),
      steps: stepsOf(run, job),
    }))
    return () => rows
  },
}

/** As jsonb_agg gives them, with the keys in the order of jsonb. */
function stepsOf(run: Run, { namespace, id }: JobRow): SqlValue {
  const steps = run.tables.steps(namespace, id).slice(-integer(run, 4))
  return json(
    steps.map(({ atMs, before, after: { state, fence, attempt } }) => {
      return { at_ms: int8(run.epochMs + atMs), fence, attempt, to_state: state, from_state: before?.state ?? null }
    }),
  )
}

export const findAttempts: Statement = {
  name: 'find attempts',
  marks: ['over (order by fence desc)'],
  begin(run) {
    const { tables, epochMs } = run
    const maxBytes = integer(run, 3)
    const attempts = tables.attempts(text(run, 1), text(run, 2)).toSorted((a, b) => b.fence - a.fence)
    let bytes = 0
    const rows = attempts.map((one): Row => {
      bytes += one.error?.length ?? 0
      return {
        attempt: one.attempt,
        fence: one.fence,
        runner_id: one.runner_id,
        outcome: one.outcome,
        message: one.message,
        error: bytes <= maxBytes ? one.error : null,
        started_at_ms: int8(epochMs + one.started_at),
        ended_at_ms: int8(epochMs + one.ended_at),
      }
    })
    return () => rows.toReversed()
  },
}
