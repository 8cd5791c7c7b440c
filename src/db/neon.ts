// Neon over HTTP: one fetch a statement, no socket and no session, so it runs in a Worker as it is.
import { neon, neonConfig, NeonDbError } from '@neondatabase/serverless'
import { decodeRows, encodeParam, keepText, SqlError, type Row, type Sql, type SqlParam } from './sql.ts'

export interface NeonOptions {
  /** URL of another SQL-over-HTTP endpoint, such as our own. Default: the one that belongs to the host. */
  fetchEndpoint?: string | undefined
  /** Default: the runtime's. */
  fetch?: ((url: string, init: RequestInit) => Promise<Response>) | undefined
  /** When to give up on an answer, in milliseconds; whether the statement committed is unknown then. Default: 30,000. */
  timeoutMs?: number | undefined
}

/** Statements on Neon, by its serverless driver. It holds nothing open: make as many as is convenient. */
export function neonSql(connectionString: string, options: NeonOptions = {}): Sql {
  assertUrl(connectionString)
  const { timeoutMs = 30_000 } = options
  const via = fetchVia(options)
  const driver = neon(connectionString, { arrayMode: true, fullResults: true })
  const types = { getTypeParser: () => keepText }

  return async <R extends Row>(text: string, params: readonly SqlParam[] = []): Promise<R[]> => {
    const encoded = params.map(encodeParam)
    // Not AbortSignal.timeout, whose timer goes on after the answer: a Durable Object is awake, and billed, as long as it does.
    const overdue = new AbortController()
    const timer = setTimeout(() => overdue.abort(new Error(`no answer came within ${timeoutMs} ms`)), timeoutMs)
    const fetchOptions = { signal: overdue.signal, ...via }
    const answer = driver.query(text, encoded, { types, fetchOptions }).catch(fail)
    const { fields, rows } = await answer.finally(() => clearTimeout(timer))
    return decodeRows<R>(fields, rows)
  }
}

// The driver quotes the whole connection string, password included, in the error that it would throw.
function assertUrl(connectionString: string): void {
  const url = URL.parse(connectionString)
  if (!url || !/^postgres(ql)?:$/.test(url.protocol) || !url.username || !url.hostname || url.pathname.length < 2) {
    throw new TypeError('DATABASE_URL must look like postgresql://user:password@host/database')
  }
}

type Fetch = (url: string, init: RequestInit) => Promise<Response>

// The driver takes endpoint and fetch from global settings alone, while two of these may live in one process. What it does
// take per query are fetch options, which it hands on to its one global fetch: so ours travels there.
function fetchVia({ fetchEndpoint, fetch: given }: NeonOptions): { via?: Fetch } {
  if (fetchEndpoint === undefined && given === undefined) return {}
  neonConfig.fetchFunction = fetchAsTold
  return { via: (url, init) => (given ?? fetch)(fetchEndpoint ?? url, init) }
}

function fetchAsTold(url: string, { via = fetch, ...init }: RequestInit & { via?: Fetch }): Promise<Response> {
  return via(url, init)
}

function fail(cause: unknown): never {
  const message = cause instanceof Error ? cause.message : String(cause)
  // Without a code it is a failed fetch, an answer cut short, or a status of the proxy: the statement may have committed.
  if (!(cause instanceof NeonDbError) || !cause.code) throw new SqlError(message, null, { cause })
  throw new SqlError(message, cause.code, { constraint: cause.constraint, cause })
}
