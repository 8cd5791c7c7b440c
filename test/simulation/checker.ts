// What must hold in every world, checked as it happens: one end for each call, bounded runs, fences, leases, truth,
// isolation, and nothing left behind. It believes nobody: it keeps its own account of grants, executions and ends.
import type { Row, SqlParam } from '../../src/db/sql.ts'
import { IS_FINAL } from '../../src/protocol/job.ts'
import { decodePayload } from '../../src/protocol/codec.ts'
import type { JobRow } from './model/tables.ts'
import type { Plan, Tenant } from './plan.ts'

/** An attempt that a claim made. */
interface Grant {
  token: string
  fence: number
  attempt: number
  /** The lease lasts until then, as far as anyone was told. */
  untilMs: number
  ended: 'succeeded' | 'threw' | 'stalled' | 'cancelled' | 'expired' | 'given back' | null
  isExecuted: boolean
}

export interface JobRecord {
  key: string
  plan: Plan
  grants: Grant[]
  executions: number
  givenBack: number
  createdAtMs: number
  dueAtMs: number
  /** The row as it ended, and when that was committed. */
  end: JobRow | null
  endedAtMs: number
}

/** How a call ended, as its caller met it. */
export type Settled = { value: unknown } | { error: unknown }

export class Violation extends Error {
  readonly job: string | null

  constructor(message: string, job: string | null) {
    super(message)
    this.job = job
  }
}

export interface CheckerOptions {
  nowMs: () => number
  retentionMs: number
  sweepWithinMs: number
  pickupWithinMs: number
  toldWithinMs: number
  isOneAttempt: boolean
}

export class Checker {
  /** The statement that commits now. */
  statement: { name: string; params: readonly SqlParam[]; nowMs: number } = { name: '', params: [], nowMs: 0 }
  /** The first that was found. */
  violation: Violation | null = null
  readonly jobs = new Map<string, JobRecord>()
  readonly #plans = new Map<number, { plan: Plan; job: JobRecord | null }>()
  readonly #options: CheckerOptions

  constructor(options: CheckerOptions) {
    this.#options = options
  }

  planned(plan: Plan): void {
    this.#plans.set(plan.number, { plan, job: null })
  }

  planOf(number: number): Plan | undefined {
    return this.#plans.get(number)?.plan
  }

  report(message: string, job: string | null): void {
    this.violation ??= new Violation(message, job)
  }

  /** A row was inserted, replaced or deleted. */
  changed(before: JobRow | null, after: JobRow | null): void {
    if (before === null) {
      if (after !== null) this.#created(after)
      return
    }
    const key = keyOf(before)
    const record = this.jobs.get(key)
    if (record === undefined) return this.report('a job changes that was never made', key)
    if (IS_FINAL[before.state]) return this.#changedAfterEnd(before, after, record)
    if (after === null) return this.report('an open job was deleted', key)
    if (before.lease_token !== null) this.#leaseChanged(before, after, record)
    if (after.lease_token !== null && after.lease_token !== before.lease_token) this.#granted(after, record)
    if (after.attempt > after.max_attempts) this.report(`attempt ${after.attempt} of ${after.max_attempts}`, key)
    if (IS_FINAL[after.state]) {
      record.end = after
      record.endedAtMs = this.#options.nowMs()
    }
    if (after.state === 'pending') record.dueAtMs = after.run_at
  }

  #created(row: JobRow): void {
    const key = keyOf(row)
    const [number] = decodePayload(row.args) as [number] // what the callers of the world send
    const known = this.#plans.get(number)
    if (known === undefined) return this.report(`nobody made call ${number}`, key)
    if (known.job !== null) return this.report(`call ${number} was inserted twice: as ${known.job.key} before`, key)
    const { plan } = known
    if (plan.tenant !== row.namespace) this.report(`a call of ${plan.tenant} became a job of ${row.namespace}`, key)
    if (plan.function !== row.function) this.report(`a call of ${plan.function} became one of ${row.function}`, key)
    const [createdAtMs, dueAtMs] = [this.#options.nowMs(), row.run_at]
    known.job = { key, plan, grants: [], executions: 0, givenBack: 0, createdAtMs, dueAtMs, end: null, endedAtMs: 0 }
    this.jobs.set(key, known.job)
    // Made for a runner that waited: a claim as well.
    if (row.lease_token !== null) this.#granted(row, known.job)
  }

  #changedAfterEnd(before: JobRow, after: JobRow | null, { key }: JobRecord): void {
    if (after !== null) return this.report(`${before.state} is an end, and it became ${after.state}`, key)
    const ageMs = this.statement.nowMs - (before.finished_at ?? 0)
    if (ageMs < this.#options.retentionMs) this.report(`forgotten ${ageMs} ms after its end`, key)
  }

  /** Something happens to the attempt that runs. */
  #leaseChanged(before: JobRow, after: JobRow, record: JobRecord): void {
    const { key } = record
    const grant = record.grants.at(-1)
    if (grant === undefined || grant.token !== before.lease_token) return this.report('a lease that no claim made', key)
    const { name, nowMs } = this.statement
    const isReport = name === 'complete' || name === 'fail' || name === 'heartbeat' || name === 'give back'
    if (isReport && !this.#isSentToken(before.id, grant.token)) {
      return this.report(`${name} changed a job without naming the token of its attempt ${grant.attempt}`, key)
    }
    if (after.lease_token === grant.token) {
      // It goes on.
      if ((after.lease_expires_at ?? 0) < grant.untilMs && after.timeout_at === null) {
        this.report('the lease became shorter than its holder was told', key)
      }
      grant.untilMs = Math.max(grant.untilMs, after.lease_expires_at ?? 0)
      return
    }
    grant.ended = endOf(name, after)
    if (grant.ended === 'stalled') this.#stalled(grant, before, record, nowMs)
    if (grant.ended === 'given back') this.#givenBack(grant, record)
  }

  #stalled(grant: Grant, before: JobRow, { key }: JobRecord, statementMs: number): void {
    const expiresAtMs = before.lease_expires_at ?? 0
    if (statementMs < expiresAtMs) {
      this.report(`taken from its runner ${expiresAtMs - statementMs} ms before the lease ended`, key)
    }
    const lateMs = this.#options.nowMs() - expiresAtMs
    if (lateMs > this.#options.sweepWithinMs) this.report(`swept ${lateMs} ms after its lease had ended`, key)
    if (this.#options.isOneAttempt) this.report(`attempt ${grant.attempt} stalled, though its runner lives`, key)
  }

  #givenBack(grant: Grant, record: JobRecord): void {
    record.givenBack++
    if (record.givenBack > 2) this.report('given back more than twice', record.key)
    if (grant.isExecuted) this.report(`attempt ${grant.attempt} was executed, and is given back`, record.key)
  }

  #isSentToken(id: string, token: string): boolean {
    const [, ids, tokens] = this.statement.params
    if (!Array.isArray(ids) || !Array.isArray(tokens)) return false
    return tokens.some((one, index) => one === token && ids[index] === id)
  }

  #granted(row: JobRow, record: JobRecord): void {
    const { key, grants, plan } = record
    const last = grants.at(-1)
    if (last !== undefined && last.ended === null) this.report('granted while another attempt holds it', key)
    if (last !== undefined && row.fence <= last.fence) this.report(`fence ${row.fence} after ${last.fence}`, key)
    const counted = grants.filter(({ ended }) => ended !== 'given back').length + 1
    if (counted > plan.maxAttempts) this.report(`${counted} attempts of ${plan.maxAttempts}`, key)
    grants.push({
      token: row.lease_token ?? '',
      fence: row.fence,
      attempt: row.attempt,
      untilMs: row.lease_expires_at ?? 0,
      ended: null,
      isExecuted: false,
    })
  }

  /** What the statement that committed tells its sender. */
  committed(name: string, params: readonly SqlParam[], rows: readonly Row[]): void {
    if (name !== 'complete' && name !== 'heartbeat') return
    const ids = params[1] as readonly string[] // as completeJobs and heartbeatJobs send them
    const tokens = params[2] as readonly string[]
    for (const { token, is_first, outcome } of rows) {
      const key = `${String(params[0])}/${ids[tokens.indexOf(String(token))]}`
      const grant = this.jobs.get(key)?.grants.find((one) => one.token === token)
      if (name === 'heartbeat' && grant?.ended !== null) this.report('a heartbeat of an ended attempt is taken', key)
      if (name === 'heartbeat' || (is_first !== true && outcome !== 'succeeded')) continue
      if (grant?.ended !== 'succeeded') this.report('a report is acknowledged and its result not kept', key)
    }
  }

  /** A function begins to run. */
  executed(tenant: Tenant, number: number, call: { id: string; attempt: number; fence: number }): void {
    const key = `${tenant}/${call.id}`
    const record = this.jobs.get(key)
    if (record === undefined) return this.report(`${tenant} runs a job that it does not have`, key)
    if (record.plan.number !== number) this.report(`runs with the arguments of call ${number}`, key)
    const grant = record.grants.find(({ fence }) => fence === call.fence)
    if (grant === undefined) return this.report(`runs under fence ${call.fence}, which was never granted`, key)
    if (grant.isExecuted) this.report(`runs twice under fence ${call.fence}`, key)
    if (grant.ended === 'given back') this.report(`runs under fence ${call.fence}, which was given back`, key)
    grant.isExecuted = true
    record.executions++
    const { maxAttempts } = record.plan
    if (record.executions > maxAttempts) this.report(`${record.executions} executions of ${maxAttempts}`, key)
    const waitedMs = this.#options.nowMs() - Math.max(record.createdAtMs, record.dueAtMs)
    if (waitedMs > this.#options.pickupWithinMs) this.report(`begins ${waitedMs} ms after it was due`, key)
  }

  /** A caller learns how its call ended. */
  settled(plan: Plan, how: Settled, { isLocal, askedAtMs }: { isLocal: boolean; askedAtMs: number }): void {
    const job = this.#plans.get(plan.number)?.job ?? null
    const key = job?.key ?? null
    // The caller gave up by itself: the plane may have it otherwise, or not at all.
    if (isLocal) return
    const told = 'value' in how ? `value ${JSON.stringify(how.value)}` : `error ${codeOf(how.error)}`
    if (job === null) return this.report(`call ${plan.number} ended with ${told} and never was a job`, key)
    if (job.end === null) return this.report(`the caller got ${told} of a job that has not ended`, key)
    const stored = storedEnd(job.end)
    const lateMs = this.#options.nowMs() - Math.max(job.endedAtMs, askedAtMs)
    if (lateMs > this.#options.toldWithinMs) this.report(`its caller hears of its end ${lateMs} ms later`, key)
    if (stored !== told) this.report(`the caller got ${told}, and stored is ${stored}`, key)
  }
}

/** What a job is known by in the history. */
export const keyOf = ({ namespace, id }: { namespace: string; id: string }): string => `${namespace}/${id}`

function endOf(statement: string, after: JobRow): Grant['ended'] {
  switch (statement) {
    case 'complete':
      return 'succeeded'
    case 'fail':
      return 'threw'
    case 'cancel':
      return 'cancelled'
    case 'expire':
      return 'expired'
    case 'give back':
      return 'given back'
    case 'stall':
      return 'stalled'
    default:
      return after.state === 'running' ? null : 'stalled'
  }
}

const CODES = { timed_out: 'call_timed_out', stalled: 'call_stalled', expired: 'call_expired' } as const

function storedEnd({ state, result, failure, error }: JobRow): string {
  if (result !== null) return `value ${JSON.stringify(decodePayload(result))}`
  if (state === 'cancelled') return 'error call_cancelled'
  if (failure !== null && failure !== 'threw') return `error ${CODES[failure]}`
  return `error ${error === null ? '?' : codeOf(decodePayload(error))}`
}

/** What tells one error from another, whichever it is. */
export function codeOf(error: unknown): string {
  if (typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'string')
    return error.code
  return error instanceof Error ? error.message : String(error)
}
