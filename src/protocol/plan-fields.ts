// Reads the fields of a plan that somebody sent; each throws PlanFault for what is no such thing.
import { PlanFault } from './plan-columns.ts'

/** Also the name of a column in SQL, where 63 bytes are the most. */
const NAME = /^[A-Za-z][A-Za-z0-9_]{0,62}$/
const MAX_ITEMS = 1_000

/** A Map, so that no name (`__proto__`) means anything. */
export function fieldsOf(value: unknown): ReadonlyMap<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return new Map(Object.entries(value))
  throw new PlanFault('must be an object with the field op')
}

export function oneOf<const T extends string>(known: readonly T[], value: unknown, field: string): T {
  const found = known.find((one) => one === value)
  if (found !== undefined) return found
  throw new PlanFault(`${field} must be one of ${known.join(', ')}, not ${JSON.stringify(String(value).slice(0, 80))}`)
}

export function textOf(value: unknown, field: string): string {
  if (typeof value === 'string') return value
  throw new PlanFault(`${field} must be a name`)
}

/** A name that the plan gives. */
export function nameOf(value: unknown): string {
  if (typeof value === 'string' && NAME.test(value)) return value
  throw new PlanFault(
    `${JSON.stringify(String(value).slice(0, 80))} cannot name a column: use a letter, then up to 62 letters, digits or "_"`,
  )
}

export function listOf(value: unknown, field: string): readonly unknown[] {
  if (Array.isArray(value) && value.length <= MAX_ITEMS) return value
  throw new PlanFault(`${field} must be a list of at most ${MAX_ITEMS}`)
}

export function pairsOf(value: unknown, field: string): (readonly [unknown, unknown])[] {
  return listOf(value, field).map((pair) => {
    if (Array.isArray(pair) && pair.length === 2) return [pair[0], pair[1]]
    throw new PlanFault(`${field} must be a list of pairs`)
  })
}

export function wholeOf(value: unknown, field: string, max: number): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 1 && value <= max) return value
  throw new PlanFault(`${field} must be a whole number from 1 to ${max}`)
}
