// The one error class, and the one table of codes: HTTP status, which tells whether the same again may help, and a sentence.
import { MAX_MESSAGE_CHARS } from './limits.ts'

interface CodeEntry {
  /** Status of the HTTP answer that carries the code. 5xx is for the plane's own faults alone. */
  status: 400 | 401 | 403 | 404 | 409 | 410 | 413 | 415 | 422 | 424 | 429 | 500 | 503
  /** What a person should know; docs/protocol.md prints it. */
  meaning: string
}

export const ERROR_CODES = {
  // The request.
  invalid_request: {
    status: 400,
    meaning: 'A field is missing or wrong; the message names it.',
  },
  invalid_msgpack: {
    status: 400,
    meaning: 'Not acceptable msgpack; the message says why.',
  },
  invalid_json: {
    status: 400,
    meaning: 'Not the JSON that is asked for.',
  },
  invalid_name: {
    status: 400,
    meaning: 'Not an acceptable name; the message says why.',
  },
  unsupported_media_type: {
    status: 415,
    meaning: 'Another content type is asked for.',
  },
  payload_too_large: {
    status: 413,
    meaning: 'Over its limit; send a reference to the data.',
  },
  not_found: { status: 404, meaning: 'No such thing in the namespace of this key.' },
  call_id_expired: {
    status: 410,
    meaning: 'The call id is not of now; make the call anew.',
  },
  call_id_conflict: {
    status: 422,
    meaning: 'Another call has this id.',
  },
  too_many_functions: {
    status: 422,
    meaning: 'The service or the namespace is at its cap.',
  },
  invalid_plan: {
    status: 422,
    meaning: 'The plan cannot be run; the message says why.',
  },
  conflict: {
    status: 409,
    meaning: 'The name is taken by another plan or relation.',
  },
  too_many_queries: {
    status: 422,
    meaning: 'The namespace is at its cap.',
  },
  // Who asks.
  unauthorized: {
    status: 401,
    meaning: 'The key is missing, unknown or revoked; check CALLPLANE_KEY.',
  },
  forbidden: {
    status: 403,
    meaning: 'The key lacks the scope, or does not cover the service.',
  },
  // The life of a job.
  lease_lost: {
    status: 409,
    meaning: 'The lease ran out, or the call was cancelled.',
  },
  call_not_ended: {
    status: 409,
    meaning: 'The call has not ended: cancel it first.',
  },
  function_failed: {
    status: 424,
    meaning: 'The function threw.',
  },
  function_not_found: {
    status: 424,
    meaning: 'The runner lacks the function.',
  },
  invalid_arguments: {
    status: 424,
    meaning: 'The arguments do not fit; the message says why.',
  },
  result_not_serializable: {
    status: 424,
    meaning: 'The result cannot be sent; the message names its path.',
  },
  call_cancelled: { status: 424, meaning: 'The call was cancelled.' },
  call_timed_out: { status: 424, meaning: 'Each attempt ran longer than timeoutMs.' },
  call_stalled: {
    status: 424,
    meaning: 'Its runners went silent.',
  },
  call_expired: { status: 424, meaning: 'The deadline of the call passed.' },
  encrypted: {
    status: 422,
    meaning: 'The value is encrypted: only its keys can read it.',
  },
  // The plane.
  too_many_requests: { status: 429, meaning: 'Back off for the time in Retry-After.' },
  overloaded: {
    status: 503,
    meaning: 'Back off for the time in Retry-After.',
  },
  database_unavailable: {
    status: 503,
    meaning: 'The database does not answer.',
  },
  schema_outdated: {
    status: 503,
    meaning: 'The database is outdated; run "npm run migrate".',
  },
  query_stopped: {
    status: 422,
    meaning: 'The live query was stopped; the message says why.',
  },
  internal: { status: 500, meaning: 'A fault of the plane; see its log.' },
  not_supported: { status: 422, meaning: 'Known, but not built yet.' },
  // The SDK, before or without the plane.
  no_key: { status: 401, meaning: 'No key: set CALLPLANE_KEY or pass { key }.' },
  no_call: { status: 400, meaning: 'currentCall() works in a running function alone.' },
  invalid_option: {
    status: 400,
    meaning: 'An option is wrong; the message names it.',
  },
  not_serializable: {
    status: 400,
    meaning: 'The value cannot be sent; the message names its path.',
  },
  plane_unreachable: {
    status: 503,
    meaning: 'The plane did not answer in time; check CALLPLANE_URL.',
  },
  closed: { status: 400, meaning: 'The service was stopped, or the plane closed.' },
} as const satisfies Record<string, CodeEntry>

export type ErrorCode = keyof typeof ERROR_CODES

/** Whether the same request, sent again later, can succeed: too many of them now, or a fault of the plane. */
export function isRetryable(code: ErrorCode): boolean {
  return ERROR_CODES[code].status >= 429
}

/** What an error looks like inside an answer. */
export interface WireError {
  code: ErrorCode
  message: string
}

/** The error of the plane and the SDK. `code` is one of {@link ERROR_CODES}; what a function throws arrives as itself. */
export class CallplaneError extends Error {
  readonly code: ErrorCode
  override readonly name = 'CallplaneError'

  constructor(code: ErrorCode, message?: string, options?: { cause?: unknown }) {
    super(message ?? ERROR_CODES[code].meaning, options)
    this.code = code
  }
}

/** Throw it (or a subclass) inside a function to end the call without further attempts. */
export class NonRetryableError extends Error {
  override readonly name: string = 'NonRetryableError'
}

export function isErrorCode(code: unknown): code is ErrorCode {
  return typeof code === 'string' && Object.hasOwn(ERROR_CODES, code)
}

export function toWireError(error: CallplaneError): WireError {
  return { code: error.code, message: error.message.slice(0, MAX_MESSAGE_CHARS) }
}

/** A wire error as the error it names. A code of a newer plane, unknown here, becomes `internal` and keeps its message. */
export function fromWireError(wire: { code: string; message: string }): CallplaneError {
  if (isErrorCode(wire.code)) return new CallplaneError(wire.code, wire.message)
  return new CallplaneError('internal', `${wire.code}: ${wire.message}`)
}
