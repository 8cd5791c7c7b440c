// What a statement of the model is: how its text is known, and what it does, in two steps.
import type { Row, SqlParam, SqlValue } from '../../../src/db/sql.ts'
import type { ModelPlant } from './plants.ts'
import type { Tables } from './tables.ts'

/** What a statement runs in. `nowMs` is `now()`: the time at which it began, whenever it is done. */
export interface Run {
  readonly tables: Tables
  readonly nowMs: number
  /** The Unix time of virtual time 0: call ids carry Unix milliseconds. */
  readonly epochMs: number
  readonly params: readonly SqlParam[]
  /** `random()` and `gen_random_uuid()`. */
  readonly random: () => number
  readonly uuid: () => string
  /** Rows that a statement under way has selected `for update skip locked`. */
  readonly locks: Locks
  readonly has: (plant: ModelPlant) => boolean
}

/** The first step selects, as of now; what it returns is the second: it changes what still passes its guards. */
export type Step = (run: Run) => () => Row[]

export interface Statement {
  name: string
  /** Parts of its text that together no other statement has. */
  marks: readonly string[]
  begin: Step
}

/** Row locks, as far as they can be seen: who skips locked rows passes over them. */
export class Locks {
  readonly #held = new Set<string>()
  readonly isOn: boolean

  /** Off, nobody ever sees a lock, and the guards alone decide. */
  constructor(isOn: boolean) {
    this.isOn = isOn
  }

  isFree(key: string): boolean {
    return !this.#held.has(key)
  }

  /** Returns what lets them go. */
  take(keys: readonly string[]): () => void {
    if (!this.isOn) return () => {}
    for (const key of keys) this.#held.add(key)
    return () => {
      for (const key of keys) this.#held.delete(key)
    }
  }
}

export const keyOf = ({ namespace, id }: { namespace: string; id: string }): string => `${namespace}/${id}`

// Parameters, by their place ($1 is 1). A statement that sends another type than the model knows fails here.

export function text({ params }: Run, place: number): string {
  const value = params[place - 1]
  if (typeof value !== 'string') throw new TypeError(`$${place} is no text: ${typeof value}`)
  return value
}

export function integer({ params }: Run, place: number): number {
  const value = params[place - 1]
  if (typeof value !== 'number' || !Number.isInteger(value))
    throw new TypeError(`$${place} is no int8: ${String(value)}`)
  return value
}

// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- what a statement takes is said where it is modelled
export function list<T>({ params }: Run, place: number): readonly T[] {
  const value = params[place - 1]
  if (!Array.isArray(value)) throw new TypeError(`$${place} is no array`)
  return value as readonly T[] // the model says what its statement takes; the differential test holds it to it
}

// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- as above
export function listOrNull<T>(run: Run, place: number): readonly T[] | null {
  return run.params[place - 1] === null ? null : list<T>(run, place)
}

/** `::int8` of a number: halves go away from zero. */
export function int8(value: number): number {
  return value < 0 ? -Math.round(-value) : Math.round(value)
}

/** Times are kept to the microsecond. */
export function instant(ms: number): number {
  return Math.round(ms * 1_000) / 1_000
}

export const json = (value: unknown): SqlValue => value as SqlValue // what jsonb holds
