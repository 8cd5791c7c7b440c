// The seam between the code and its databases: one function that runs one statement, and what every adapter shares of it.

/** What a statement can be given. Durations and instants travel as integers of milliseconds, never as dates. */
export type SqlScalar = string | number | bigint | boolean | null | Uint8Array
export type SqlParam = SqlScalar | readonly SqlScalar[]

/** What a parsed json or jsonb column can hold. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

/** What a column can hold: the same value from every adapter, by {@link PARSERS}. */
export type SqlValue = Json | Uint8Array | SqlValue[]
export type Row = Record<string, SqlValue>

/**
 * Runs one statement with its parameters and commits it: there is no transaction to join.
 *
 * `R` is the caller's claim about the columns that its own statement selects, written beside the statement; nothing
 * checks it but the values that a column can have at all. Write it as a type literal (an interface is no `Row`).
 */
export type Sql = <R extends Row = Row>(text: string, params?: readonly SqlParam[]) => Promise<R[]>

/** A statement failed in the database or on the way to it. A parameter that cannot be sent is a TypeError instead. */
export class SqlError extends Error {
  override readonly name = 'SqlError'
  /** SQLSTATE. `null`: the answer was lost, and the statement may or may not have committed. */
  readonly code: string | null
  /** The constraint that refused a row, by the name that the schema gives it. */
  readonly constraint?: string

  constructor(
    message: string,
    code: string | null,
    options: { constraint?: string | undefined; cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause })
    this.code = code
    if (options.constraint !== undefined) this.constraint = options.constraint
  }
}

/** SQLSTATEs of our own making, for failures before anything was sent: the statement has certainly not run. */
export const NO_CONNECTION = '08001'
export const CLOSED = '08003'
/** Postgres's own, for too many connections. */
export const TOO_MANY = '53300'

// 57P01 and its sisters end a session from outside, and can do so between the commit and its confirmation. 40003 is how
// CockroachDB reports an ambiguous commit.
const UNKNOWN_OUTCOMES = new Set(['40003', '57P01', '57P02', '57P05'])
const NEVER_SENT = new Set([NO_CONNECTION, CLOSED, '08004'])

/** Whether the failed statement may have committed all the same, so that only a statement safe to repeat may be repeated. */
export function isOutcomeUnknown(error: unknown): boolean {
  if (!(error instanceof SqlError)) return false
  if (error.code === null || UNKNOWN_OUTCOMES.has(error.code)) return true
  return error.code.startsWith('08') && !NEVER_SENT.has(error.code)
}

// 25006: the primary became a standby. 55P03: a lock was not free. 57014: cancelled, also by the statement timeout.
// 57P03: starting up.
const TRANSIENT = new Set(['25006', '40001', '40P01', '55P03', '57014', '57P03'])

/** Whether the same statement may succeed a little later. Of a statement that changes rows, ask {@link isOutcomeUnknown} too. */
export function isTransient(error: unknown): boolean {
  if (!(error instanceof SqlError)) return false
  if (isOutcomeUnknown(error) || error.code === null) return true
  return TRANSIENT.has(error.code) || error.code.startsWith('08') || error.code.startsWith('53')
}

/** Serialization failure and deadlock: the database rolled the statement back, for certain. */
const ROLLED_BACK = new Set<string | null>(['40001', '40P01'])

/**
 * Runs a statement again, up to five times, when the database rolled it back in favour of another.
 *
 * Nothing else is retried here. A lost answer may hide a commit, and only the caller knows whether its statement carries
 * the key or token that makes a repeat harmless, so that is retried one level up.
 */
export function withRetry(sql: Sql, { retries = 5, baseMs = 10, maxMs = 250 } = {}): Sql {
  return async <R extends Row>(text: string, params?: readonly SqlParam[]): Promise<R[]> => {
    for (let failures = 0; ; failures++) {
      try {
        return await sql<R>(text, params)
      } catch (error) {
        const isRolledBack = error instanceof SqlError && ROLLED_BACK.has(error.code)
        if (!isRolledBack || failures === retries) throw error
        await waitFor(Math.random() * Math.min(maxMs, baseMs * 2 ** failures))
      }
    }
  }
}

/** Calls `hook` before each statement, so that tests and benchmarks can count what a request costs. */
export function onStatement(sql: Sql, hook: (text: string, params: readonly SqlParam[]) => void): Sql {
  return <R extends Row>(text: string, params: readonly SqlParam[] = []): Promise<R[]> => {
    hook(text, params)
    return sql<R>(text, params)
  }
}

export function waitFor(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

// From here on: values as Postgres writes them, for the adapters.

/** A parameter in Postgres's text form; `null` stays null. */
export function encodeParam(param: SqlParam): string | null {
  if (param === null) return null
  return isList(param) ? encodeArray(param) : encodeScalar(param)
}

// Array.isArray alone does not narrow a readonly array out of a union.
export function isList(param: SqlParam): param is readonly SqlScalar[] {
  return Array.isArray(param)
}

function encodeScalar(value: Exclude<SqlScalar, null>): string {
  if (typeof value === 'string') return value
  if (value instanceof Uint8Array) return `\\x${encodeHex(value)}`
  if (Object.is(value, -0)) return '-0'
  if (typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean') return String(value)
  throw new TypeError(`a statement cannot take a parameter of type ${value === undefined ? 'undefined' : typeof value}`)
}

function encodeArray(values: readonly SqlScalar[]): string {
  return `{${values.map(encodeElement).join(',')}}`
}

// Every element is quoted: bare, an empty string, a comma or the word null would mean something else.
function encodeElement(value: SqlScalar): string {
  return value === null ? 'NULL' : `"${encodeScalar(value).replace(/["\\]/g, '\\$&')}"`
}

// Loops over bytes: joining strings is thirty times slower, and 64 KiB must not cost a Worker a millisecond.
const HEX_DIGITS = new TextEncoder().encode('0123456789abcdef')
const VALUE_OF_DIGIT = new Uint8Array(256)
HEX_DIGITS.forEach((digit, value) => (VALUE_OF_DIGIT[digit] = value))

function encodeHex(bytes: Uint8Array): string {
  const hex = new Uint8Array(2 * bytes.length)
  for (let i = 0, to = 0; i < bytes.length; i++) {
    const byte = bytes[i]! // oxlint-disable-line typescript/no-non-null-assertion -- i < length
    hex[to++] = HEX_DIGITS[byte >> 4]! // oxlint-disable-line typescript/no-non-null-assertion -- sixteen digits
    hex[to++] = HEX_DIGITS[byte & 15]! // oxlint-disable-line typescript/no-non-null-assertion -- sixteen digits
  }
  return new TextDecoder().decode(hex)
}

function decodeHex(text: string): Uint8Array {
  if (!text.startsWith('\\x')) throw new RangeError('the database must write bytea as hex (bytea_output = hex)')
  const hex = new TextEncoder().encode(text)
  const bytes = new Uint8Array(hex.length / 2 - 1)
  for (let i = 0, from = 2; i < bytes.length; i++) {
    const high = VALUE_OF_DIGIT[hex[from++]!]! // oxlint-disable-line typescript/no-non-null-assertion -- a table of all bytes
    const low = VALUE_OF_DIGIT[hex[from++]!]! // oxlint-disable-line typescript/no-non-null-assertion -- a table of all bytes
    bytes[i] = (high << 4) | low
  }
  return bytes
}

// An int8 above 2^53 would come back as another number; such a value is a fault of the statement, not a rounding.
function parseInteger(text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value)) throw new RangeError(`the integer ${text} is beyond 2^53: select it as text`)
  return value
}

const parseBoolean = (text: string): boolean => text === 't' || text === 'true'
const parseJson = (text: string): SqlValue => JSON.parse(text)
/** For drivers that parse by themselves: they are told to leave every value as Postgres wrote it. */
export const keepText = (text: string): string => text

type Parser = (text: string) => SqlValue

function arrayOf(parse: Parser): Parser {
  return (text) => splitArray(text).map((element) => (element === null ? null : parse(element)))
}

/** By the OID of the type. Whatever is not here stays text: uuid, text, numeric, and timestamps, which statements select as epoch milliseconds. */
const PARSERS = new Map<number, Parser>([
  [16, parseBoolean],
  [17, decodeHex],
  [20, parseInteger],
  [21, parseInteger],
  [23, parseInteger],
  [700, Number],
  [701, Number],
  [114, parseJson],
  [3802, parseJson],
  [1000, arrayOf(parseBoolean)],
  [1001, arrayOf(decodeHex)],
  [1005, arrayOf(parseInteger)],
  [1007, arrayOf(parseInteger)],
  [1016, arrayOf(parseInteger)],
  [1021, arrayOf(Number)],
  [1022, arrayOf(Number)],
  [199, arrayOf(parseJson)],
  [3807, arrayOf(parseJson)],
  // name, text, varchar, uuid, timestamptz.
  ...[1003, 1009, 1015, 2951, 1185].map((oid): [number, Parser] => [oid, arrayOf(keepText)]),
])

// The elements of `{a,"b \"c\"",NULL}`: quoted with escapes, or bare up to the comma.
const ELEMENT = /"([^"\\]*(?:\\.[^"\\]*)*)"|([^,{}"]+)/gs

function splitArray(text: string): (string | null)[] {
  if (!text.startsWith('{') || text.startsWith('{{'))
    throw new RangeError('arrays here have one dimension that starts at 1')
  return Array.from(text.matchAll(ELEMENT), ([, quoted, bare]) => {
    if (quoted !== undefined) return quoted.replace(/\\(.)/gs, '$1')
    return bare === undefined || bare === 'NULL' ? null : bare
  })
}

/** A column of a result, as every driver describes it. */
export interface Field {
  name: string
  dataTypeID: number
}

/** Rows of Postgres's text form as rows of values. */
export function decodeRows<R extends Row>(
  fields: readonly Field[],
  rows: readonly (readonly (string | null)[])[],
): R[] {
  const parsers = fields.map(({ dataTypeID }) => PARSERS.get(dataTypeID) ?? keepText)
  const decoded: Row[] = rows.map((row) =>
    Object.fromEntries(fields.map(({ name }, i) => [name, decodeValue(row[i], parsers[i])])),
  )
  return decoded as R[] // The caller's claim about its own statement: see Sql.
}

function decodeValue(text: string | null | undefined, parse: Parser | undefined): SqlValue {
  return text === null || text === undefined || parse === undefined ? null : parse(text)
}
