// Runs each statement on Postgres and on the model of it, at the same virtual time, and compares what they answer and what
// they keep.
import { isDeepStrictEqual } from 'node:util'
import { migrate } from '../../src/db/migrate.ts'
import { readSchema } from '../../src/db/migrations.node.ts'
import type { Row, Sql, SqlParam, SqlValue } from '../../src/db/sql.ts'
import { findEventDrift } from '../support/event-sums.ts'
import { freshEmbedded } from '../support/fresh-embedded.ts'
import { EPOCH_MS } from './globals.ts'
import { Model } from './model/model.ts'
import type { ModelPlant } from './model/plants.ts'

/** In place of the database's own, by a schema that is looked at first: `now()` as set, and no chance. */
const VIRTUAL_CLOCK = [
  `create schema clock`,
  `create function clock.now() returns timestamptz language sql stable as
    $$ select timestamptz 'epoch' + current_setting('clock.now_ms')::int8 * interval '1 millisecond' $$`,
  `create function clock.random() returns float8 language sql immutable as $$ select 0.5::float8 $$`,
  `set search_path = clock, pg_catalog, public`,
]

/** Their rows come in an order that is promised. */
const IN_ORDER = /order by (c\.)?priority desc|order by fence$/

export class Twin {
  readonly #postgres: Sql
  #model: Model
  nowMs = 0
  statements = 0
  /** Tokens are random on either side: those of Postgres → those of the model. */
  readonly #tokens = new Map<string, string>()

  private constructor(postgres: Sql) {
    this.#postgres = postgres
    this.#model = newModel(new Set())
  }

  static async open(): Promise<{ twin: Twin; close: () => Promise<void> }> {
    const { sql, close } = await freshEmbedded()
    await sql(`select set_config('clock.now_ms', '${EPOCH_MS}', false)`)
    for (const statement of VIRTUAL_CLOCK) await sql(statement)
    await migrate(sql, readSchema())
    return { twin: new Twin(sql), close }
  }

  /** Both empty, at time 0; the model with these bugs. */
  async clear(plants: ReadonlySet<ModelPlant>): Promise<void> {
    await this.#postgres(
      `truncate callplane.jobs, callplane.attempts, callplane.functions, callplane.runners, callplane.events`,
    )
    this.#model = newModel(plants)
    this.#tokens.clear()
    await this.advance(-this.nowMs)
  }

  async advance(ms: number): Promise<void> {
    this.nowMs += ms
    await this.#postgres(`select set_config('clock.now_ms', '${EPOCH_MS + this.nowMs}', false)`)
  }

  /** What the transitions are given. Answers as Postgres does. */
  readonly sql: Sql = async <R extends Row>(text: string, params: readonly SqlParam[] = []): Promise<R[]> => {
    this.statements++
    const rows = await this.#postgres<R>(text, params)
    const change = this.#model.begin(
      text,
      params.map((param) => this.#translated(param)),
      this.nowMs,
    )
    const modelled = change()
    this.#learnTokens(rows, modelled)
    const isOrdered = IN_ORDER.test(text.trim())
    this.#compare(
      `the answer of\n${text}\n`,
      rows.map((row) => this.#plain(row)),
      modelled,
      isOrdered,
    )
    return rows
  }

  /** Every row and column that is kept. */
  async compareTables(): Promise<void> {
    const jobs = await this.#postgres(JOBS)
    const modelled = [...this.#model.tables.jobs()].map((job) => {
      const { retry, ...row } = job
      return { ...row, retry_text: retry === null ? null : 'set' }
    })
    this.#compare(
      'jobs',
      jobs.map((row) => this.#plain(row)),
      modelled,
      false,
    )
    const attempts = await this.#postgres(ATTEMPTS)
    const ofModel = [...this.#model.tables.jobs()].flatMap(({ namespace, id }) => {
      return this.#model.tables.attempts(namespace, id).map((one) => ({ ...one, namespace, job_id: id }))
    })
    this.#compare(
      'attempts',
      attempts.map((row) => this.#plain(row)),
      ofModel,
      false,
    )
    this.#compare('what the events add up to', await findEventDrift(this.#postgres), [], false)
  }

  /** Jobs come in the answers of claims: the same job has the same attempt on either side. */
  #learnTokens(rows: readonly Row[], modelled: readonly Row[]): void {
    for (const { id, fence, token } of rows) {
      if (typeof token !== 'string' || fence === undefined || this.#tokens.has(token)) continue
      const twin = modelled.find((row) => row['id'] === id && row['fence'] === fence)?.['token']
      if (typeof twin === 'string') this.#tokens.set(token, twin)
    }
  }

  #translated(param: SqlParam): SqlParam {
    if (!Array.isArray(param)) return param
    const items = param as readonly (SqlParam & (string | null))[] // text or not, translated alike
    return items.map((item) => (typeof item === 'string' ? (this.#tokens.get(item) ?? item) : item))
  }

  #plain(row: Row): Row {
    const entries = Object.entries(row).map(([name, value]): [string, SqlValue] => {
      return [name, typeof value === 'string' ? (this.#tokens.get(value) ?? value) : value]
    })
    return Object.fromEntries(entries)
  }

  #compare(what: string, postgres: readonly object[], model: readonly object[], isOrdered: boolean): void {
    const [theirs, ours] = [postgres.map(comparable), model.map(comparable)]
    if (!isOrdered) for (const rows of [theirs, ours]) rows.sort()
    if (isDeepStrictEqual(theirs, ours)) return
    throw new Error(
      `at ${this.nowMs} ms, ${what}: Postgres has\n${theirs.join('\n')}\nand the model\n${ours.join('\n')}`,
    )
  }
}

function newModel(plants: ReadonlySet<ModelPlant>): Model {
  const uuid = () => crypto.randomUUID()
  return new Model({ epochMs: EPOCH_MS, random: () => 0.5, uuid, hasLocks: false, plants })
}

/** One text for equal rows: names in order, bytes as numbers, times to the microsecond. */
function comparable(row: object): string {
  const entries = Object.entries(row).toSorted(([a], [b]) => (a < b ? -1 : 1))
  return JSON.stringify(
    entries.map(([name, value]: [string, unknown]) => {
      if (value instanceof Uint8Array) return [name, [...value]]
      return [name, typeof value === 'number' ? Number(value.toFixed(2)) : value]
    }),
  )
}

const epoch = (column: string) => `((extract(epoch from ${column}) * 1000) - ${EPOCH_MS})::float8 as ${column}`

const JOBS = `select namespace, id, service, function, state, args, args_digest, parent_id, origin_id, redriven_from,
  ${['created_at', 'run_at', 'deadline_at', 'started_at', 'timeout_at', 'lease_expires_at', 'finished_at'].map(epoch).join(', ')},
  priority, max_attempts, case when retry is not null then 'set' end as retry_text, timeout_ms, lease_ms, attempt, fence,
  runner_id, progress, lease_token, claim_id, is_redelivered, given_back, failure, result, error, message
  from callplane.jobs`

const ATTEMPTS = `select namespace, job_id, fence, attempt, token, runner_id, ${epoch('started_at')}, ${epoch('ended_at')},
  outcome, error, message from callplane.attempts`
