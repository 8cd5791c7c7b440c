// The one error class, and the one table of codes: HTTP status, whether sending the same again may help, and a sentence.
import { MAX_MESSAGE_CHARS } from './limits.ts'

interface CodeEntry {
  /** Status of the HTTP answer that carries the code. 5xx is for the plane's own faults alone. */
  status: 400 | 401 | 403 | 404 | 409 | 410 | 413 | 415 | 422 | 424 | 429 | 500 | 503
  /** Whether the same request, sent again later, can succeed. */
  isRetryable: boolean
  /** What a person should know; docs/protocol.md prints it. */
  meaning: string
}

export const ERROR_CODES = {
  // The request.
  invalid_request: {
    status: 400,
    isRetryable: false,
    meaning: 'The request does not have the shape that the endpoint asks for; the message names the field.',
  },
  invalid_msgpack: {
    status: 400,
    isRetryable: false,
    meaning:
      'The bytes are not msgpack that the plane accepts: cut short, too deep, too many nodes, or claiming more than they hold.',
  },
  invalid_json: {
    status: 400,
    isRetryable: false,
    meaning: 'The body is not JSON of the shape that the endpoint asks for.',
  },
  invalid_name: {
    status: 400,
    isRetryable: false,
    meaning: 'Names match [A-Za-z_][A-Za-z0-9_.-]{0,63}; functions cannot be called then, catch, finally or toJSON.',
  },
  unsupported_media_type: {
    status: 415,
    isRetryable: false,
    meaning: 'The endpoint reads another content type; the message names it.',
  },
  payload_too_large: {
    status: 413,
    isRetryable: false,
    meaning: 'A payload or a body is over its limit; send a reference to the data instead.',
  },
  not_found: { status: 404, isRetryable: false, meaning: 'No such thing in the namespace of this key.' },
  call_id_expired: {
    status: 410,
    isRetryable: false,
    meaning:
      'The call id is too old or too far in the future to be told from a repeat; make the call anew with a fresh id.',
  },
  call_id_conflict: {
    status: 422,
    isRetryable: false,
    meaning: 'A call with this id exists with another function or other arguments; use a fresh id for another call.',
  },
  too_many_functions: {
    status: 422,
    isRetryable: false,
    meaning: 'The service or the namespace has reached its cap of functions or services.',
  },
  // Who asks.
  unauthorized: {
    status: 401,
    isRetryable: false,
    meaning: 'The key is missing, unknown or revoked; check CALLPLANE_KEY.',
  },
  forbidden: {
    status: 403,
    isRetryable: false,
    meaning: 'The key is valid but lacks the scope, or does not cover the service.',
  },
  // The life of a job.
  lease_lost: {
    status: 409,
    isRetryable: false,
    meaning: 'The attempt no longer holds the job: its lease ran out and it was retried, or the call was cancelled.',
  },
  call_not_ended: {
    status: 409,
    isRetryable: false,
    meaning: 'The call has not ended: cancel it first.',
  },
  function_failed: {
    status: 424,
    isRetryable: false,
    meaning: 'The function threw; the error itself is in the answer.',
  },
  function_not_found: {
    status: 424,
    isRetryable: false,
    meaning: 'The runner that took the job does not have the function.',
  },
  invalid_arguments: {
    status: 424,
    isRetryable: false,
    meaning: 'The arguments do not pass the input schema of the function; the message names the path.',
  },
  result_not_serializable: {
    status: 424,
    isRetryable: false,
    meaning: 'The function returned something that cannot be sent; the message names the path.',
  },
  call_cancelled: { status: 424, isRetryable: false, meaning: 'The call was cancelled before it ended.' },
  call_timed_out: { status: 424, isRetryable: false, meaning: 'Every attempt ran longer than timeoutMs.' },
  call_stalled: {
    status: 424,
    isRetryable: false,
    meaning: 'The runners that took the job went silent until no attempt was left.',
  },
  call_expired: { status: 424, isRetryable: false, meaning: 'The deadline of the call passed before it ended.' },
  encrypted: {
    status: 422,
    isRetryable: false,
    meaning: 'The value is end-to-end encrypted: read it with the SDK and its keys.',
  },
  // The plane.
  too_many_requests: { status: 429, isRetryable: true, meaning: 'Back off for the time in Retry-After.' },
  overloaded: {
    status: 503,
    isRetryable: true,
    meaning: 'The plane sheds load; back off for the time in Retry-After.',
  },
  database_unavailable: {
    status: 503,
    isRetryable: true,
    meaning: 'The database does not answer; nothing is known to be lost, send the same again.',
  },
  schema_outdated: {
    status: 503,
    isRetryable: true,
    meaning: 'The database schema is not the one this build needs; run "npm run migrate".',
  },
  internal: { status: 500, isRetryable: true, meaning: 'A fault of the plane; its log has the request id.' },
  not_supported: { status: 422, isRetryable: false, meaning: 'The option or the value is known but not built yet.' },
  // The SDK, before or without the plane.
  no_key: { status: 401, isRetryable: false, meaning: 'No key was given: set CALLPLANE_KEY or pass { key }.' },
  no_call: { status: 400, isRetryable: false, meaning: 'currentCall() was asked outside a running function.' },
  invalid_option: {
    status: 400,
    isRetryable: false,
    meaning: 'An option has a value that it cannot have; the message names it.',
  },
  not_serializable: {
    status: 400,
    isRetryable: false,
    meaning: 'The value cannot be sent; the message names its path.',
  },
  plane_unreachable: {
    status: 503,
    isRetryable: true,
    meaning: 'The control plane did not answer in time; check CALLPLANE_URL.',
  },
  closed: { status: 400, isRetryable: false, meaning: 'The client, the service or the plane was closed or stopped.' },
} as const satisfies Record<string, CodeEntry>

export type ErrorCode = keyof typeof ERROR_CODES

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
