// The tables of the model: rows are never changed but replaced, so that whoever selected one keeps what it saw.
import type { Failure, JobState } from '../../../src/protocol/job.ts'
import type { StoredRetry } from '../../../src/jobs/retry.ts'

/** A row of `callplane.jobs`. Times are milliseconds of virtual time. */
export interface JobRow {
  readonly namespace: string
  readonly id: string
  readonly service: string
  readonly function: string
  readonly state: JobState
  readonly args: Uint8Array
  readonly args_digest: Uint8Array
  readonly parent_id: string | null
  readonly origin_id: string
  readonly redriven_from: string | null
  readonly created_at: number
  readonly priority: number
  readonly run_at: number
  readonly deadline_at: number | null
  readonly max_attempts: number
  readonly retry: StoredRetry | null
  readonly timeout_ms: number | null
  readonly lease_ms: number
  readonly attempt: number
  readonly fence: number
  readonly runner_id: string | null
  readonly started_at: number | null
  readonly timeout_at: number | null
  readonly progress: Uint8Array | null
  readonly lease_token: string | null
  readonly lease_expires_at: number | null
  readonly claim_id: string | null
  readonly is_redelivered: boolean
  readonly given_back: number
  readonly finished_at: number | null
  readonly failure: Failure | null
  readonly result: Uint8Array | null
  readonly error: Uint8Array | null
  readonly message: string | null
}

/** A row of `callplane.attempts`. */
export interface AttemptRow {
  readonly fence: number
  readonly attempt: number
  readonly token: string
  readonly runner_id: string
  readonly started_at: number
  readonly ended_at: number
  readonly outcome: string
  readonly error: Uint8Array | null
  readonly message: string | null
}

export interface KeyRow {
  readonly namespace: string
  readonly secret_hash: Uint8Array
  readonly grants: string
}

/** What every transition away from running does to the lease. */
export const NO_LEASE = { lease_token: null, lease_expires_at: null, claim_id: null } as const

/** A change of a job's state. */
export interface Step {
  atMs: number
  before: JobRow | null
  after: JobRow
}

export type JobChange = (before: JobRow | null, after: JobRow | null) => void

export class Tables {
  readonly keys = new Map<string, KeyRow>()
  /** namespace, service and name → policy. */
  readonly functions = new Map<string, Record<string, unknown>>()
  /** Told of each change, as it commits. */
  onChange: JobChange = () => {}
  /** `now()` of the statement that commits. */
  nowMs = 0
  /** namespace and id → when it was last heard of. */
  readonly runners = new Map<string, { seenAtMs: number; leftAtMs: number | null }>()
  /** When jobs and runners were forgotten whose events are still there. */
  readonly forgotten: number[] = []
  readonly #jobs = new Map<string, JobRow>()
  readonly #attempts = new Map<string, AttemptRow[]>()
  readonly #steps = new Map<string, Step[]>()
  readonly #pending = new Map<string, Set<string>>()
  readonly #running = new Set<string>()
  readonly #open = new Set<string>()
  readonly #ended = new Set<string>()
  /** The least `finished_at`; null: to be found anew. */
  #firstEndMs: number | null = Infinity

  job(namespace: string, id: string): JobRow | undefined {
    return this.#jobs.get(`${namespace}/${id}`)
  }

  jobs(): IterableIterator<JobRow> {
    return this.#jobs.values()
  }

  attempts(namespace: string, id: string): readonly AttemptRow[] {
    return this.#attempts.get(`${namespace}/${id}`) ?? []
  }

  /** Of a job that is there, in their order. */
  steps(namespace: string, id: string): readonly Step[] {
    return this.#steps.get(`${namespace}/${id}`) ?? []
  }

  *pending(namespace: string, service: string): Generator<JobRow> {
    yield* this.#rows(this.#pending.get(`${namespace}/${service}`) ?? [])
  }

  *running(): Generator<JobRow> {
    yield* this.#rows(this.#running)
  }

  /** Pending or running. */
  *open(): Generator<JobRow> {
    yield* this.#rows(this.#open)
  }

  get openCount(): number {
    return this.#open.size
  }

  *ended(): Generator<JobRow> {
    yield* this.#rows(this.#ended)
  }

  /** When the first of those that are kept has ended; Infinity: none has. */
  firstEndMs(): number {
    if (this.#firstEndMs === null) {
      this.#firstEndMs = Infinity
      for (const { finished_at } of this.ended()) this.#firstEndMs = Math.min(this.#firstEndMs, finished_at ?? Infinity)
    }
    return this.#firstEndMs
  }

  insert(job: JobRow): void {
    this.#put(null, job)
  }

  update(job: JobRow, changes: Partial<JobRow>): JobRow {
    const after = { ...job, ...changes }
    this.#put(job, after)
    return after
  }

  delete(job: JobRow): void {
    this.#put(job, null)
  }

  keep(job: JobRow, attempt: Pick<AttemptRow, 'ended_at' | 'outcome'> & Partial<AttemptRow>): void {
    const { fence, attempt: number, lease_token: token, runner_id, started_at } = job
    if (token === null || runner_id === null || started_at === null) throw new Error('the job had no lease to keep')
    const row: AttemptRow = {
      fence,
      attempt: number,
      token,
      runner_id,
      started_at,
      error: null,
      message: null,
      ...attempt,
    }
    const key = `${job.namespace}/${job.id}`
    const rows = this.#attempts.get(key)
    if (rows === undefined) this.#attempts.set(key, [row])
    else rows.push(row)
  }

  *#rows(keys: Iterable<string>): Generator<JobRow> {
    for (const key of keys) {
      const row = this.#jobs.get(key)
      if (row !== undefined) yield row
    }
  }

  #put(before: JobRow | null, after: JobRow | null): void {
    const one = after ?? before
    if (one === null) return
    const key = `${one.namespace}/${one.id}`
    if (before?.state !== after?.state) {
      if (after === null) this.#steps.delete(key)
      else this.#steps.set(key, [...this.steps(one.namespace, one.id), { atMs: this.nowMs, before, after }])
      if (before !== null) for (const set of this.#setsOf(before)) set.delete(key)
      if (after !== null) for (const set of this.#setsOf(after)) set.add(key)
    }
    if (after === null) this.#firstEndMs = null
    else this.#firstEndMs = Math.min(this.firstEndMs(), after.finished_at ?? Infinity)
    if (after === null) {
      this.#jobs.delete(key)
      this.#attempts.delete(key)
    } else this.#jobs.set(key, after)
    this.onChange(before, after)
  }

  #setsOf({ namespace, service, state }: JobRow): Set<string>[] {
    if (state === 'running') return [this.#running, this.#open]
    if (state !== 'pending') return [this.#ended]
    const name = `${namespace}/${service}`
    let pending = this.#pending.get(name)
    if (pending === undefined) this.#pending.set(name, (pending = new Set()))
    return [pending, this.#open]
  }
}
