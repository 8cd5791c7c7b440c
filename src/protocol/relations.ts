// The relations that a plan can read: their columns, the types of those, and the values that a type has.
import { CallplaneError } from './errors.ts'

/**
 * What a column holds. Every column can be null too.
 *
 * - `text`: a string; ordered by code points, as UTF-8 bytes are.
 * - `bool`
 * - `int`: a whole number that JavaScript holds exactly, up to ±(2^53 − 1).
 * - `int64`: a bigint; as JSON, its decimal digits in a string.
 * - `float`: a finite number. There is one zero.
 * - `time`: whole milliseconds since the epoch.
 */
export const COLUMN_TYPES = ['text', 'bool', 'int', 'int64', 'float', 'time'] as const
export type ColumnType = (typeof COLUMN_TYPES)[number]

/** Name → type, in the order in which a row holds them. */
export type Columns = ReadonlyMap<string, ColumnType>
export type Relations = ReadonlyMap<string, Columns>

export type Value = string | number | bigint | boolean | null
/** The values of a row in the order of its columns. */
export type Row = readonly Value[]

/**
 * The relations of every namespace. Of jobs, `wait_ms` is from when the last attempt was due to its start, `run_ms` from that
 * to the end. `redrives` has the jobs that run another anew.
 */
export const RELATIONS: Relations = new Map<string, Columns>([
  [
    'jobs',
    new Map<string, ColumnType>([
      ['id', 'text'],
      ['service', 'text'],
      ['function', 'text'],
      ['state', 'text'],
      ['failure', 'text'],
      ['runner', 'text'],
      ['attempt', 'int'],
      ['priority', 'int'],
      ['parent', 'text'],
      ['created_at', 'time'],
      ['started_at', 'time'],
      ['finished_at', 'time'],
      ['wait_ms', 'int'],
      ['run_ms', 'int'],
    ]),
  ],
  [
    'redrives',
    new Map<string, ColumnType>([
      ['id', 'text'],
      ['redriven_from', 'text'],
    ]),
  ],
  [
    'runners',
    new Map<string, ColumnType>([
      ['id', 'text'],
      ['host', 'text'],
      ['sdk', 'text'],
      ['joined_at', 'time'],
      ['left_at', 'time'],
    ]),
  ],
  [
    'services',
    new Map<string, ColumnType>([
      ['service', 'text'],
      ['function', 'text'],
    ]),
  ],
])

const MAX_INT64 = 2n ** 63n - 1n

/** Whether a whole number fits an `int64`. */
export function isInt64(value: bigint): boolean {
  return value >= -MAX_INT64 - 1n && value <= MAX_INT64
}

/** A value of the type from its JSON form; undefined where it is none. */
export function parseValue(type: ColumnType, json: unknown): Value | undefined {
  if (json === null) return null
  switch (type) {
    case 'text':
      // Postgres holds neither: compared there and here, such a text could not be the same.
      return typeof json === 'string' && json.isWellFormed() && !json.includes('\0') ? json : undefined
    case 'bool':
      return typeof json === 'boolean' ? json : undefined
    case 'int':
    case 'time':
      return Number.isSafeInteger(json) ? Number(json) + 0 : undefined
    case 'float':
      return Number.isFinite(json) ? Number(json) + 0 : undefined
    case 'int64': {
      const isWhole = Number.isSafeInteger(json) || typeof json === 'bigint' || /^-?\d{1,19}$/.test(textOf(json))
      const value = isWhole ? BigInt(textOf(json)) : undefined
      return value !== undefined && isInt64(value) ? value : undefined
    }
  }
}

const textOf = (json: unknown): string =>
  typeof json === 'string' || typeof json === 'number' || typeof json === 'bigint' ? String(json) : ''

/** A row of a client's own relation. A column that is not given is null; throws `invalid_request` for any other. */
export function parseRow(columns: Columns, json: unknown, path: string): Row {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw new CallplaneError('invalid_request', `${path} must be an object of columns`)
  }
  const given = new Map<string, unknown>(Object.entries(json))
  const unknown = [...given.keys()].find((name) => !columns.has(name))
  if (unknown !== undefined) {
    throw new CallplaneError('invalid_request', `${path}.${unknown.slice(0, 80)} is not a column of the relation`)
  }
  return [...columns].map(([name, type]) => {
    const value = parseValue(type, given.get(name) ?? null)
    if (value === undefined) throw new CallplaneError('invalid_request', `${path}.${name} must be of type ${type}`)
    return value
  })
}
