// Writing answers: msgpack, frames, and errors in the form that the asker reads.
import type { Context } from 'hono'
import { SqlError, TOO_MANY, isOutcomeUnknown, isTransient } from '../db/sql.ts'
import { SchemaError } from '../db/migrate.ts'
import { CallplaneError, ERROR_CODES, isRetryable, toWireError } from '../protocol/errors.ts'
import { encodeBody } from '../protocol/wire.ts'
import { MSGPACK } from './body.ts'
import type { HttpEnv, Plane } from './context.ts'

/** How long a client that met an overload or an outage should hold back, in seconds. */
const RETRY_AFTER_S = '1'

/**
 * The context, with the headers that every answer has. Said before there is one: a header that is added to an answer makes
 * its body a stream. And no sooner, since a poll that waits would hold them.
 */
export function answering(c: Context<HttpEnv>, { cacheControl = 'no-store' } = {}): Context<HttpEnv> {
  c.header('callplane-request-id', c.get('requestId'))
  // Answers hold users' data: nothing in between may keep them, and no browser may take them for a page.
  c.header('cache-control', cacheControl)
  c.header('x-content-type-options', 'nosniff')
  return c
}

export function msgpack(c: Context<HttpEnv>, value: object, status: 200 | 201 = 200): Response {
  return answering(c).body(encodeBody(value), status, { 'content-type': MSGPACK })
}

/** The answer in the form that the asker reads. */
export function either(c: Context<HttpEnv>, value: object, status: 200 | 201 = 200): Response {
  return readsMsgpack(c) ? msgpack(c, value, status) : answering(c).json(value, status)
}

/** Whether the asker reads msgpack; people with curl read JSON. */
export function readsMsgpack(c: Context<HttpEnv>): boolean {
  return (c.req.header('accept') ?? '').includes(MSGPACK)
}

/** Any error as an answer. What is not ours becomes `internal`, here and nowhere else; its detail goes to the log alone. */
export function errorAnswer(plane: Plane, c: Context<HttpEnv>, thrown: unknown): Response {
  const error = publicError(thrown)
  const requestId = c.get('requestId')
  if (error !== thrown) {
    plane.log({ level: 'error', event: 'request_failed', requestId, code: error.code, detail: detailOf(thrown) })
  }
  const { status } = ERROR_CODES[error.code]
  const headers: Record<string, string> = status === 503 || status === 429 ? { 'retry-after': RETRY_AFTER_S } : {}
  if (status === 401) headers['www-authenticate'] = 'Bearer'
  const body = { error: { ...toWireError(error), isRetryable: isRetryable(error.code) } }
  if (readsMsgpack(c)) return answering(c).body(encodeBody(body), status, { ...headers, 'content-type': MSGPACK })
  return answering(c).json(body, status, headers)
}

function publicError(thrown: unknown): CallplaneError {
  if (thrown instanceof CallplaneError) return thrown
  if (thrown instanceof SchemaError) return new CallplaneError('schema_outdated', thrown.message)
  // 3F000, 42P01, 42703: the schema, a table or a column is missing.
  if (thrown instanceof SqlError && ['3F000', '42P01', '42703'].includes(thrown.code ?? '')) {
    return new CallplaneError('schema_outdated')
  }
  if (thrown instanceof SqlError && thrown.code === TOO_MANY) return new CallplaneError('overloaded')
  if (isTransient(thrown) || isOutcomeUnknown(thrown)) return new CallplaneError('database_unavailable')
  return new CallplaneError('internal', 'the plane failed; its log has the request id')
}

function detailOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown)
  return thrown instanceof SqlError ? `${thrown.code}: ${thrown.message}` : (thrown.stack ?? thrown.message)
}
