// Postgres over its own protocol, through pg's pool: for Node, and for a Worker through Hyperdrive.
import { Client, DatabaseError, Pool, type ClientConfig, type PoolClient, type QueryArrayConfig } from 'pg'
import { arrayTypes, encodeBinaryArray, type ElementType } from './pg-arrays.ts'
import {
  CLOSED,
  decodeRows,
  encodeParam,
  isList,
  isOutcomeUnknown,
  keepText,
  NO_CONNECTION,
  SqlError,
  TOO_MANY,
  type Row,
  type Sql,
  type SqlParam,
} from './sql.ts'

export interface PgOptions {
  connectionString: string
  /** Connections at most. Default: 10. */
  max?: number | undefined
  /** The server ends a statement after it, in milliseconds. Default: 30,000. A server that answers nothing gets 5,000 more. */
  statementTimeoutMs?: number | undefined
  /** For a connection, also a free one of the pool, in milliseconds. Default: 10,000. */
  connectTimeoutMs?: number | undefined
  /** Statements that may wait for a free connection: more fail at once (53300), for each holds its request's memory. Default: 1,000. */
  maxWaiting?: number | undefined
}

export interface PgDatabase {
  sql: Sql
  /** A connection outside the pool, to LISTEN on. Its 'notification', 'error' and 'end' events are the caller's, and so is `end()`. */
  connect: () => Promise<Client>
  close: () => Promise<void>
}

/**
 * Each statement is planned once a connection. Left to itself, Postgres plans a claim anew each time, since the plan for
 * these very parameters looks cheaper than the one for any: planning takes 0.7 ms, running it 0.4.
 *
 * A plan made once must hold when the table has grown, so that it is made as for a large one in memory: no table is read
 * whole, and what costs is a row that is looked at, not the page that it is on. Without that, a plan made for a new table
 * reads all of its jobs with each statement, until Postgres first analyses the table a minute later.
 */
const PLANNING = [
  'plan_cache_mode=force_generic_plan',
  'enable_seqscan=off',
  'random_page_cost=0.1',
  'cpu_tuple_cost=0.1',
]
  .map((setting) => `-c ${setting}`)
  .join(' ')

/**
 * Statements on a pool of connections, which open as they are needed.
 *
 * In a Worker, make one for each request and close it in `waitUntil`: a socket belongs to the request that opened it.
 */
export function pgSql(options: PgOptions): PgDatabase {
  const {
    connectionString,
    max = 10,
    statementTimeoutMs = 30_000,
    connectTimeoutMs = 10_000,
    maxWaiting = 1_000,
  } = options
  const address: ClientConfig = { connectionString, connectionTimeoutMillis: connectTimeoutMs, keepAlive: true }
  const pool = new Pool({
    ...address,
    max,
    statement_timeout: statementTimeoutMs,
    options: PLANNING,
    query_timeout: statementTimeoutMs + 5_000,
  })
  // Without listeners, a connection that breaks while idle or between two events would end the process.
  pool.on('error', ignore)
  pool.on('connect', (client) => client.on('error', ignore))
  const names = new StatementNames()

  return {
    sql: async <R extends Row>(text: string, params: readonly SqlParam[] = []) => {
      if (pool.waitingCount >= maxWaiting) {
        throw new SqlError(`${maxWaiting} statements wait for a connection already`, TOO_MANY)
      }
      const types = names.arrayTypesOf(text)
      const values = params.map((param, index) => encodeForPg(param, types.get(index + 1)))
      const { fields, rows } = await run(pool, text, values, names)
      return decodeRows<R>(fields, rows)
    },
    connect: () => openClient(address),
    close: () => pool.end(),
  }
}

// pg sends a Uint8Array in binary form, which is half of its text.
function encodeForPg(param: SqlParam, elements: ElementType | undefined): string | Uint8Array | null {
  if (param instanceof Uint8Array) return param
  return elements !== undefined && isList(param) ? encodeBinaryArray(param, elements) : encodeParam(param)
}

async function checkOut(pool: Pool): Promise<PoolClient> {
  if (pool.ending) throw new SqlError('the connection pool is closed', CLOSED)
  const { statement_timeout, options } = pool.options
  try {
    return await pool.connect()
  } catch (error) {
    const isPlanningUnknown = error instanceof DatabaseError && error.code === '42704' && options !== undefined
    const isPlain = statement_timeout === false && options === undefined
    if (!isPlanningUnknown && (!isStartupRefused(error) || isPlain)) throw connectError(error)
    // A database that plans in other ways (CockroachDB), or a pooler between us and the server that takes no settings at all
    // (PgBouncer), where our own timer has to do.
    pool.options.options = undefined
    if (!isPlanningUnknown) pool.options.statement_timeout = false
    return checkOut(pool)
  }
}

function isStartupRefused(error: unknown): boolean {
  return error instanceof DatabaseError && error.code === '08P01' && /startup parameter/.test(error.message)
}

async function openClient(address: ClientConfig): Promise<Client> {
  const client = new Client(address)
  // Until its user listens, and after: an error that nobody hears would end the process. 'end' follows it.
  client.on('error', ignore)
  try {
    return await client.connect()
  } catch (error) {
    throw connectError(error)
  }
}

// No statement was sent yet, so the outcome is known, whatever ended the attempt: none has run.
function connectError(cause: unknown): SqlError {
  const error = sqlError(cause)
  return isOutcomeUnknown(error) ? new SqlError(error.message, NO_CONNECTION, { cause }) : error
}

interface Answer {
  fields: { name: string; dataTypeID: number }[]
  rows: (string | null)[][]
}

async function run(pool: Pool, text: string, values: unknown[], names: StatementNames): Promise<Answer> {
  const name = names.of(text)
  const client = await checkOut(pool)
  try {
    const answer = await send(client, text, values, name)
    client.release()
    return answer
  } catch (error) {
    const isStale = name !== undefined && names.isStale(error)
    // After an ordinary error the connection is as good as before: pg's own pool.query would close it each time.
    client.release(isStale || !isOrdinary(error))
    if (!isStale) throw sqlError(error)
  }
  return run(pool, text, values, names)
}

function isOrdinary(error: unknown): boolean {
  return error instanceof DatabaseError && error.severity === 'ERROR'
}

function send(client: PoolClient, text: string, values: unknown[], name: string | undefined): Promise<Answer> {
  const config: QueryArrayConfig & { queryMode: 'extended' } = {
    text,
    values,
    rowMode: 'array',
    types: { getTypeParser: () => keepText },
    // Also without parameters: the simple protocol would run two statements of one text in a transaction of their own.
    queryMode: 'extended',
    ...(name === undefined ? {} : { name }),
  }
  return client.query<(string | null)[]>(config)
}

/** More statements than a build has: past it, texts are made up as they come, and preparing them would fill the server's memory. */
const MAX_NAMES = 1_000

/** Names for prepared statements: planning the longer ones costs more than running them. */
class StatementNames {
  readonly #textOf = new Map<string, string>()
  readonly #nameOf = new Map<string, string>()
  readonly #arrayTypesOf = new Map<string, ReadonlyMap<number, ElementType>>()
  #isAllowed = true

  /** As in pg-arrays.ts. */
  arrayTypesOf(text: string): ReadonlyMap<number, ElementType> {
    const known = this.#arrayTypesOf.get(text)
    if (known !== undefined) return known
    const types = arrayTypes(text)
    if (this.#arrayTypesOf.size < MAX_NAMES) this.#arrayTypesOf.set(text, types)
    return types
  }

  of(text: string): string | undefined {
    if (!this.#isAllowed) return undefined
    return this.#nameOf.get(text) ?? this.#add(text)
  }

  // Derived from the text alone: a pooler may hand us a server connection on which another process prepared the same name.
  #add(text: string): string | undefined {
    const name = `cp_${hash(text, 0x811c9dc5)}${hash(text, 0x01000193)}_${text.length}`
    if (this.#textOf.has(name) || this.#textOf.size === MAX_NAMES) return undefined
    this.#textOf.set(name, text)
    this.#nameOf.set(text, name)
    return name
  }

  /**
   * Whether the statement failed for its name alone, before it ran, and is worth another try. A pooler that gives each
   * statement another server connection loses names (26000) or repeats them (42P05): then there are none from now on.
   * After a migration a plan may not fit its table any more (0A000), until the connection is closed.
   */
  isStale(error: unknown): boolean {
    if (!(error instanceof DatabaseError)) return false
    const isForgotten = error.code === '26000' || error.code === '42P05'
    if (isForgotten) this.#isAllowed = false
    return isForgotten || (error.code === '0A000' && /cached plan/.test(error.message))
  }
}

// FNV-1a. Two seeds and the length: a collision in one process is found above, across a pooler's clients it is 1 in 2^64.
function hash(text: string, seed: number): string {
  let value = seed
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193)
  return (value >>> 0).toString(36)
}

function sqlError(cause: unknown): SqlError {
  // By class, not by shape: EPIPE of a socket has five capitals too, as if it were a SQLSTATE.
  if (cause instanceof DatabaseError) {
    return new SqlError(cause.message, cause.code ?? null, { constraint: cause.constraint, cause })
  }
  return new SqlError(cause instanceof Error ? cause.message : String(cause), null, { cause })
}

function ignore(): void {}
