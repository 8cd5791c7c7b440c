// A call becomes a job: nothing → pending, or running at once for a runner that waits. Sent twice, it is the same row.
import type { Sql, SqlScalar } from '../db/sql.ts'
import { callIdTimeMs } from '../protocol/call-id.ts'
import { CallplaneError } from '../protocol/errors.ts'
import type { CallRequest } from '../protocol/calls.ts'
import { DEFAULT_ATTEMPTS, DEFAULT_LEASE_MS, FIRST_LEASE_MS } from '../protocol/policy.ts'
import type { ClaimedJob } from '../protocol/runners.ts'
import { toClaimedJob } from './claimed.ts'
import { retryColumn } from './retry.ts'

/** What became of one call: its job, new or found, or the reason why there is none. */
export type Enqueued =
  | { id: string; isNew: boolean; deadlineInMs: number | null; claimed: ClaimedJob | null }
  | { id: string; error: CallplaneError }

/** A runner's claim that waits for calls: what it is given is inserted as claimed. */
export interface Holder {
  runner: string
  claimId: string
}

/** Who takes which of the calls, in their order; `settle` says what became of them, nothing if that is not known. */
export type Reserve = (
  namespace: string,
  calls: readonly CallRequest[],
) => { holders: readonly (Holder | null)[]; settle: (enqueued: readonly Enqueued[]) => void } | null

/** An id up to a day ahead of the database is a caller's clock that runs fast, not a repeat from the future. */
const MAX_AHEAD_MS = 86_400_000

/**
 * nothing → pending, for each call that is not a job yet; one statement. nothing → running where a claim waits for it: then
 * this is the claim, and the attempt is counted here. Calls of functions that are registered copy
 * their policies. The answer is in the order sent. `retentionMs` is how long finished jobs stay: an id older than half
 * of it may be that of a job already gone, so it is refused rather than run again.
 */
export async function enqueueJobs(
  sql: Sql,
  namespace: string,
  calls: readonly CallRequest[],
  { retentionMs, holders = [] }: { retentionMs: number; holders?: readonly (Holder | null)[] },
): Promise<Enqueued[]> {
  // Many calls of few functions: what they have in common is said and looked up once.
  const places = new Map<string, number>()
  const named: CallRequest[] = []
  const placeOf = (call: CallRequest): number => {
    const name = `${call.service} ${call.function}` // names may have dots, and never have spaces
    const known = places.get(name)
    if (known !== undefined) return known
    places.set(name, named.push(call))
    return named.length
  }
  const columnOfPlaces = calls.map(placeOf)
  const rows = await sql<InsertedRow>(
    /* sql */ `
    with named as materialized (
      select n.place, n.service, n.function, f.policy -> 'retry' as retry,
        coalesce((f.policy -> 'retry' ->> 'attempts')::int8, $16::int8) as attempts,
        coalesce((f.policy ->> 'priority')::int8, 0) as priority,
        coalesce((f.policy ->> 'leaseMs')::int8, $17::int8) as lease_ms,
        (f.policy ->> 'timeoutMs')::int8 as timeout_ms, (f.policy ->> 'deadlineMs')::int8 as deadline_ms
      from unnest($4::text[], $5::text[]) with ordinality as n (service, function, place)
      left join callplane.functions f on f.namespace = $1 and f.service = n.service and f.name = n.function
    ), made as (
      insert into callplane.jobs (namespace, id, service, function, args, args_digest, parent_id, origin_id, priority,
        run_at, deadline_at, max_attempts, retry, timeout_ms, lease_ms, state, attempt, fence, runner_id, claim_id,
        lease_token, started_at, timeout_at, lease_expires_at)
      select $1, s.id, f.service, f.function, s.args, s.args_digest, s.parent_id, s.id, coalesce(s.priority, f.priority),
        now() + coalesce(s.delay_ms, 0) * interval '1 millisecond',
        now() + coalesce(s.deadline_ms, f.deadline_ms) * interval '1 millisecond',
        case when s.retry is null then f.attempts else (s.retry::jsonb ->> 'attempts')::int8 end,
        coalesce(s.retry::jsonb, f.retry), coalesce(s.timeout_ms, f.timeout_ms), f.lease_ms,
        case when s.claim_id is null then 'pending' else 'running' end,
        case when s.claim_id is null then 0 else 1 end, case when s.claim_id is null then 0 else 1 end,
        s.runner_id, s.claim_id, case when s.claim_id is not null then gen_random_uuid() end,
        case when s.claim_id is not null then now() end,
        case when s.claim_id is not null
          then now() + coalesce(s.timeout_ms, f.timeout_ms) * interval '1 millisecond' end,
        case when s.claim_id is not null then now()
          + least(f.lease_ms, $21::int8, coalesce(s.timeout_ms, f.timeout_ms)) * interval '1 millisecond' end
      from unnest($2::uuid[], $3::int8[], $18::int8[], $6::bytea[], $7::bytea[], $8::uuid[], $9::int8[], $10::int8[],
        $11::int8[], $12::int8[], $15::text[], $19::uuid[], $20::uuid[])
        as s (id, made_at_ms, place, args, args_digest, parent_id, delay_ms, priority, timeout_ms, deadline_ms, retry,
          runner_id, claim_id)
      join named f on f.place = s.place
      where s.made_at_ms between (extract(epoch from now()) * 1000)::int8 - $13::int8
        and (extract(epoch from now()) * 1000)::int8 + $14::int8
      order by s.id
      on conflict (namespace, id) do nothing
      returning namespace, id, state, service, function, priority, parent_id, created_at, run_at, fence, attempt, runner_id,
        started_at, deadline_at, lease_token, max_attempts, lease_expires_at, timeout_at, retry
    ), told as (
      insert into callplane.events (namespace, subject_id, to_state, service, function, priority, parent_id,
        created_at, run_at, fence, attempt, runner_id, started_at)
      select namespace, id, state, service, function, priority, parent_id,
        created_at, run_at, fence, attempt, runner_id, started_at
      from made
    )
    select id, (extract(epoch from deadline_at - now()) * 1000)::int8 as deadline_in_ms, lease_token as token,
      max_attempts, (extract(epoch from lease_expires_at - now()) * 1000)::int8 as lease_left_ms,
      (extract(epoch from timeout_at - now()) * 1000)::int8 as timeout_left_ms, retry -> 'on' as retry_on
    from made`,
    [
      namespace,
      calls.map((call) => call.id),
      calls.map((call) => callIdTimeMs(call.id)),
      named.map((call) => call.service),
      named.map((call) => call.function),
      calls.map((call) => call.args),
      calls.map((call) => call.argsDigest),
      rarely(calls.map((call) => call.parent)),
      rarely(calls.map((call) => call.delayMs)),
      rarely(calls.map((call) => call.priority)),
      rarely(calls.map((call) => call.timeoutMs)),
      rarely(calls.map((call) => call.deadlineMs)),
      Math.floor(retentionMs / 2),
      MAX_AHEAD_MS,
      rarely(calls.map((call) => retryColumn(call.retry))),
      DEFAULT_ATTEMPTS,
      DEFAULT_LEASE_MS,
      columnOfPlaces,
      rarely(holders.map((holder) => holder?.runner)),
      rarely(holders.map((holder) => holder?.claimId)),
      FIRST_LEASE_MS,
    ],
  )
  const inserted = new Map(rows.map((row) => [row.id, row]))
  const known = new Map<string, Enqueued>()
  for (const call of calls) {
    const row = inserted.get(call.id)
    if (row === undefined) continue
    known.set(call.id, { id: call.id, isNew: true, deadlineInMs: row.deadline_in_ms, claimed: claimedOf(call, row) })
  }
  // The insert waited for a twin to commit, so that a look that begins now finds it.
  const refused = calls.filter(({ id }) => !known.has(id))
  if (refused.length > 0) {
    for (const one of await findEnqueued(sql, namespace, refused, { retentionMs })) known.set(one.id, one)
  }
  return calls.map(({ id }) => known.get(id) ?? { id, error: undecided() })
}

function undecided(): CallplaneError {
  return new CallplaneError('database_unavailable', 'the database could not tell whether the call exists')
}

/** A column that most calls leave out: unnest pads a shorter one with nulls, so that an empty one says as much. */
function rarely<T extends SqlScalar>(column: readonly (T | null | undefined)[]): (T | null)[] {
  return column.some((value) => value !== null && value !== undefined) ? column.map((value) => value ?? null) : []
}

type InsertedRow = {
  id: string
  deadline_in_ms: number | null
  token: string | null
  max_attempts: number
  lease_left_ms: number | null
  timeout_left_ms: number | null
  retry_on: string[] | null
}

/** What the runner is told, where the call was inserted for one. */
function claimedOf(call: CallRequest, row: InsertedRow): ClaimedJob | null {
  const { token, lease_left_ms } = row
  if (token === null || lease_left_ms === null) return null
  return toClaimedJob({ ...row, ...call, token, lease_left_ms, attempt: 1, fence: 1, parent_id: call.parent ?? null })
}

type FoundRow = { id: string; is_known: boolean; is_same: boolean; is_in_time: boolean }

/** Why calls were not inserted: they are jobs already, or too old. Of those that now could be, nothing is said. */
async function findEnqueued(
  sql: Sql,
  namespace: string,
  calls: readonly CallRequest[],
  { retentionMs }: { retentionMs: number },
): Promise<Enqueued[]> {
  const rows = await sql<FoundRow>(
    /* sql */ `
    with sent as materialized (
      select $1::text as namespace, * from unnest($2::uuid[], $3::int8[], $4::text[], $5::text[], $6::bytea[])
        as s (id, made_at_ms, service, function, args_digest)
    )
    select s.id, j.id is not null as is_known,
      coalesce(j.service = s.service and j.function = s.function and j.args_digest = s.args_digest, false) as is_same,
      s.made_at_ms between (extract(epoch from now()) * 1000)::int8 - $7::int8
        and (extract(epoch from now()) * 1000)::int8 + $8::int8 as is_in_time
    from sent s
    left join callplane.jobs j on j.namespace = s.namespace and j.id = s.id`,
    [
      namespace,
      calls.map((call) => call.id),
      calls.map((call) => callIdTimeMs(call.id)),
      calls.map((call) => call.service),
      calls.map((call) => call.function),
      calls.map((call) => call.argsDigest),
      Math.floor(retentionMs / 2),
      MAX_AHEAD_MS,
    ],
  )
  return rows.flatMap((row): Enqueued[] => {
    if (row.is_known && row.is_same) return [{ id: row.id, isNew: false, deadlineInMs: null, claimed: null }]
    if (row.is_known) {
      const message = `call ${row.id} exists with another function or other arguments: use a fresh id for another call`
      return [{ id: row.id, error: new CallplaneError('call_id_conflict', message) }]
    }
    if (!row.is_in_time) {
      const message = `call ${row.id} was made at a time that is too far from the database's: make the call anew`
      return [{ id: row.id, error: new CallplaneError('call_id_expired', message) }]
    }
    return []
  })
}
