// Neon's SQL over HTTP in front of a database of our own: what `npm run dev` gives its Worker, and where tests count and break.
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { messages, PGlite } from '@electric-sql/pglite'
import { DatabaseError, type Pool, type PoolClient } from 'pg'
import { rawQueries } from './pglite.node.ts'
import { encodeParam, keepText, waitFor, type Field, type SqlParam } from './sql.ts'

/** What goes wrong with a request, as a network and a database do it. */
export type Fault =
  /** HTTP 500, and the statement did not run. */
  | 'before'
  /** The connection breaks, and the statement did not run. */
  | 'reset'
  /** The connection breaks after the commit. */
  | 'after'
  /** SQLSTATE 40001: rolled back in favour of another. */
  | 'serialization'
  /** It runs that much later. */
  | { slowMs: number }

export interface EndpointQuery {
  text: string
  params: (string | null)[]
}

export interface EndpointOptions {
  /** Runs the statements: the embedded engine, or a pool of connections to a real Postgres. */
  backend: PGlite | Pool
  /** Default: any free one. */
  port?: number | undefined
  /** Default: 127.0.0.1. Whoever reaches it and knows the token rules the database. */
  host?: string | undefined
  /** The password that the connection string must carry. Default: a random one. */
  token?: string | undefined
  /** Sees each statement before it runs, and may make it go wrong. */
  onQuery?: ((query: EndpointQuery) => Fault | undefined | Promise<Fault | undefined>) | undefined
}

export interface Endpoint {
  /** For `fetchEndpoint`. */
  url: string
  /** What the driver must be given: the host in it says nothing, its password is the token. */
  connectionString: string
  /** Statements received so far. */
  readonly count: number
  close: () => Promise<void>
}

/** Answers the unmodified Neon driver. It is meant for one machine: loopback unless told otherwise, and no TLS. */
export async function startNeonEndpoint(options: EndpointOptions): Promise<Endpoint> {
  const { backend, port = 0, host = '127.0.0.1', token = randomBytes(24).toString('base64url'), onQuery } = options
  const run = backend instanceof PGlite ? runOnEngine(backend) : runOnPool(backend)
  let count = 0

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    assertWelcome(request, token)
    const batch = parseBody(await readBody(request), request)
    count += batch.queries.length
    const fault = await firstFault(batch.queries, onQuery)
    if (fault === 'before') throw new Refused(500, 'this statement was told to fail')
    if (fault === 'reset') return void request.socket.resetAndDestroy()
    if (fault === 'serialization') return send(response, 400, SERIALIZATION_FAILURE)
    if (typeof fault === 'object') await waitFor(fault.slowMs)
    const results = await run(batch)
    if (fault === 'after') return void request.socket.resetAndDestroy()
    const [first] = results.map((result) => shape(result, request))
    send(response, 200, batch.begin === null ? first : { results: results.map((result) => shape(result, request)) })
  }

  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => sendError(response, error))
  })
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, host, resolve))
  const bound = (server.address() as AddressInfo).port // It listens on TCP: neither null nor a path.
  const authority = `${host.includes(':') ? `[${host}]` : host}:${bound}`
  return {
    url: `http://${authority}/sql`,
    connectionString: `postgresql://callplane:${encodeURIComponent(token)}@${authority}/callplane`,
    get count() {
      return count
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/** An answer other than a result; the driver reads the text of any status but 400. */
class Refused extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

// A web page open in the developer's browser can post here, and by rebinding its name even as same-origin: but a browser
// then sends Origin, and the page does not know the token.
function assertWelcome(request: IncomingMessage, token: string): void {
  if (request.headers.origin !== undefined) throw new Refused(403, 'no browser may query this database')
  if (request.url !== '/sql' || request.method !== 'POST') throw new Refused(404, 'post to /sql')
  const password = URL.parse(header(request, 'neon-connection-string') ?? '')?.password ?? ''
  if (!isEqual(decodeURIComponent(password), token))
    throw new Refused(401, 'another connection string is expected here')
  if (header(request, 'neon-raw-text-output') !== 'true') throw new Refused(501, 'only raw text output is built')
}

function isEqual(a: string, b: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(a), digest(b))
}

function header(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name]
  return Array.isArray(value) ? value[0] : value
}

/** Neon's own cap. */
const MAX_BODY_BYTES = 64 * 1024 * 1024

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request) {
    bytes += chunk.length
    if (bytes > MAX_BODY_BYTES) throw new Refused(413, 'a request is 64 MiB at most')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

interface Batch {
  queries: EndpointQuery[]
  /** How the transaction around a batch begins; null for a single statement, which commits by itself. */
  begin: string | null
}

function parseBody(body: string, request: IncomingMessage): Batch {
  const parsed: unknown = parseJson(body)
  if (!isObject(parsed)) throw new Refused(400, 'the body is no JSON object')
  if (!Array.isArray(parsed['queries'])) return { queries: [parseQuery(parsed)], begin: null }
  return { queries: parsed['queries'].map(parseQuery), begin: beginStatement(request) }
}

function parseJson(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

function parseQuery(value: unknown): EndpointQuery {
  if (!isObject(value) || typeof value['query'] !== 'string') throw new Refused(400, 'a query has the text "query"')
  const params = value['params'] ?? []
  if (!Array.isArray(params)) throw new Refused(400, '"params" is an array')
  return { text: value['query'], params: params.map((param) => encodeParam(toParam(param))) }
}

// The driver sends strings and null; other clients may send what JSON has.
function toParam(value: unknown): SqlParam {
  if (value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean')
    return value
  return Array.isArray(value) ? value : JSON.stringify(value)
}

const ISOLATION = new Map([
  ['ReadUncommitted', 'read uncommitted'],
  ['ReadCommitted', 'read committed'],
  ['RepeatableRead', 'repeatable read'],
  ['Serializable', 'serializable'],
])

function beginStatement(request: IncomingMessage): string {
  const level = header(request, 'neon-batch-isolation-level')
  const isolation = level === undefined ? 'read committed' : ISOLATION.get(level)
  if (!isolation) throw new Refused(400, `${level} is no isolation level`)
  const access = header(request, 'neon-batch-read-only') === 'true' ? 'read only' : 'read write'
  const deferrable = header(request, 'neon-batch-deferrable') === 'true' ? 'deferrable' : 'not deferrable'
  return `isolation level ${isolation} ${access} ${deferrable}`
}

async function firstFault(queries: EndpointQuery[], onQuery: EndpointOptions['onQuery']): Promise<Fault | undefined> {
  const faults = await Promise.all(queries.map((query) => onQuery?.(query)))
  return faults.find((fault) => fault !== undefined)
}

interface Result {
  command?: string | undefined
  rowCount?: number | null | undefined
  fields: Field[]
  rows: (string | null)[][]
}

type Run = (batch: Batch) => Promise<Result[]>
type RunOne = (query: EndpointQuery) => Promise<Result>

async function inOrder(queries: EndpointQuery[], runOne: RunOne): Promise<Result[]> {
  const results: Result[] = []
  for (const query of queries) results.push(await runOne(query))
  return results
}

function runOnEngine(engine: PGlite): Run {
  const raw = rawQueries(engine)
  return ({ queries, begin }) => {
    if (begin === null) return inOrder(queries, ({ text, params }) => engine.query(text, params, raw))
    return engine.transaction(async (transaction) => {
      await transaction.exec(`set transaction ${begin}`)
      return inOrder(queries, ({ text, params }) => transaction.query(text, params, raw))
    })
  }
}

function runOnPool(pool: Pool): Run {
  // Without listeners, a connection that breaks would end the process. Its statement gets the error either way.
  pool.on('error', () => {})
  pool.on('connect', (client) => client.on('error', () => {}))
  return async ({ queries, begin }) => {
    const client = await pool.connect()
    const runOne: RunOne = ({ text, params }) => queryRaw(client, text, params)
    try {
      if (begin !== null) await client.query(`begin ${begin}`)
      const results = await inOrder(queries, runOne)
      if (begin !== null) await client.query('commit')
      client.release()
      return results
    } catch (error) {
      // Closing the connection also rolls the transaction back.
      client.release(begin !== null || !(error instanceof DatabaseError && error.severity === 'ERROR'))
      throw error
    }
  }
}

function queryRaw(client: PoolClient, text: string, values: (string | null)[]): Promise<Result> {
  const types = { getTypeParser: () => keepText }
  const config = { text, values, types, rowMode: 'array' as const, queryMode: 'extended' } // const: pg picks its overload by it.
  return client.query<(string | null)[]>(config)
}

function shape({ command, rowCount, fields, rows }: Result, request: IncomingMessage): unknown {
  const rowAsArray = header(request, 'neon-array-mode') === 'true'
  return {
    command: command ?? '',
    rowCount: rowCount ?? null,
    fields: fields.map(({ name, dataTypeID }) => ({ name, dataTypeID, format: 'text' })),
    rows: rowAsArray ? rows : rows.map((row) => Object.fromEntries(fields.map(({ name }, i) => [name, row[i]]))),
    rowAsArray,
  }
}

const SERIALIZATION_FAILURE = {
  severity: 'ERROR',
  code: '40001',
  message: 'could not serialize access due to concurrent update',
}

// prettier-ignore
const ERROR_FIELDS = [
  'severity', 'code', 'detail', 'hint', 'position', 'internalPosition', 'internalQuery', 'where', 'schema', 'table',
  'column', 'dataType', 'constraint', 'file', 'line', 'routine',
] as const

function sendError(response: ServerResponse, error: unknown): void {
  if (error instanceof DatabaseError || error instanceof messages.DatabaseError) {
    const fields = ERROR_FIELDS.map((field) => [field, error[field] ?? null])
    return send(response, 400, { message: error.message, ...Object.fromEntries(fields) })
  }
  const status = error instanceof Refused ? error.status : 500
  // What is left of a refused body is not read.
  response.setHeader('connection', 'close')
  send(response, status, { message: error instanceof Error ? error.message : String(error) })
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}
