// Checking options: what is not known, or has a value that it cannot have, is an error where it was written, and what is
// known but not built yet says so. Nothing is ever ignored.
import type { CallRequest } from '../protocol/calls.ts'
import { CallplaneError } from '../protocol/errors.ts'
import type { FunctionPolicy } from '../protocol/policy.ts'
import { encodeBody } from '../protocol/wire.ts'
import type { Definition } from './definition.ts'
import type { Schemas } from './standard-schema.ts'

const NOT_BUILT =
  'idempotencyKey cache concurrencyKey rateLimitKey debounceKey concurrency rateLimit debounce unserved batch cancelWithParent encryptionKeys'.split(
    ' ',
  )

/** Throws `invalid_option` unless the value is one that the option can have. */
type Check = (value: unknown, name: string) => void
export type Checks = Readonly<Record<string, Check>>

const DAY_MS = 86_400_000
const duration = number(1, 365 * DAY_MS)
const slots = number(0, 100_000)
export const signal: Check = test('an AbortSignal', isSignal)

// The ranges are those of protocol/policy.ts, whose shapes come with the whole of the plane's parsing; a test compares.
const policy: Checks = {
  retry: object({
    attempts: number(1, 1_000),
    backoff: object({
      initialMs: number(0, DAY_MS),
      factor: number(1, 100, { isWhole: false }),
      maxMs: number(0, 30 * DAY_MS),
      jitter: test("'full' or 'none'", (value) => value === 'full' || value === 'none'),
    }),
    on: test('an array of strings, at most 50', (value) => {
      return Array.isArray(value) && value.length <= 50 && value.every((one) => typeof one === 'string')
    }),
  }),
  timeoutMs: duration,
  deadlineMs: duration,
  priority: number(-1_000, 1_000),
}

const callChecks: Checks = { ...policy, delayMs: duration, signal }
const defineChecks: Checks = {
  ...policy,
  leaseMs: number(1_000, 3_600_000),
  input: test('an array of Standard Schemas', isSchemas),
}

/** The options of a call, as they travel. */
export type CallPolicy = Pick<CallRequest, 'retry' | 'timeoutMs' | 'deadlineMs' | 'priority' | 'delayMs'>

export interface CheckedCallOptions {
  readonly policy: CallPolicy
  readonly signal: AbortSignal | undefined
  /** What the policy takes in a request. */
  readonly bytes: number
}

export function checkCallOptions(options: object): CheckedCallOptions {
  const { signal, ...rest } = checked('.with', options, callChecks) as CallPolicy & { signal?: AbortSignal } // each just was
  return { policy: structuredClone(rest), signal, bytes: encodeBody(rest).length }
}

export function checkDefineOptions(options: object, fn: unknown): Definition {
  const { input, ...rest } = checked('define', options, defineChecks) as FunctionPolicy & { input?: Schemas } // each just was
  if (typeof fn !== 'function') throw wrongValue('the second argument of define', 'a function', fn)
  return { policy: structuredClone(rest), input }
}

/** The given properties that are not undefined; throws unless all are known and right. */
export function checked(where: string, options: unknown, checks: Checks): Record<string, unknown> {
  if (typeof options !== 'object' || options === null) throw wrongValue(`the options of ${where}`, 'an object', options)
  const given: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(options)) {
    const check = Object.hasOwn(checks, name) ? checks[name] : undefined
    if (check === undefined) throw unknownName(where, name, Object.keys(checks))
    if (value === undefined) continue
    check(value, name)
    given[name] = value
  }
  return given
}

export function checkSlots(value: unknown): asserts value is number {
  slots(value, 'slots')
}

/** Something else checks it. */
export function anything(): void {}

export function wrongValue(name: string, wanted: string, value: unknown): CallplaneError {
  return new CallplaneError('invalid_option', `${name} must be ${wanted}, not ${show(value)}`)
}

export function notBuilt(where: string, name: string): CallplaneError {
  return new CallplaneError('not_supported', `${where}: ${name} is known but not built yet`)
}

function unknownName(where: string, name: string, known: readonly string[]): CallplaneError {
  if (NOT_BUILT.includes(name)) return notBuilt(where, name)
  const message = `${where} has no option ${show(name)}: use ${known.join(', ')}`
  return new CallplaneError('invalid_option', message)
}

export function test(wanted: string, isRight: (value: unknown) => boolean): Check {
  return (value, name) => {
    if (!isRight(value)) throw wrongValue(name, wanted, value)
  }
}

export function number(min: number, max: number, { isWhole = true } = {}): Check {
  return test(`a ${isWhole ? 'whole ' : ''}number from ${min} to ${max}`, (value) => {
    return typeof value === 'number' && value >= min && value <= max && (!isWhole || Number.isInteger(value))
  })
}

function object(checks: Checks): Check {
  return (value, name) => {
    const prefixed = Object.entries(checks).map(([key, check]): [string, Check] => [
      key,
      (one) => check(one, `${name}.${key}`),
    ])
    checked(name, value, Object.fromEntries(prefixed))
  }
}

function isSignal(value: unknown): value is AbortSignal {
  return typeof value === 'object' && value !== null && 'aborted' in value && 'addEventListener' in value
}

function isSchemas(value: unknown): value is Schemas {
  return Array.isArray(value) && value.every((one) => Object(one) === one && '~standard' in one)
}

/** Short: a value may be anything. */
function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 80))
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'an array' : 'an object'
  return typeof value === 'function' ? 'a function' : String(value)
}
