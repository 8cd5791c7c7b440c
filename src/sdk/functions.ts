// What may be in a service.
import type { RESERVED_FUNCTION_NAMES } from '../protocol/names.ts'

/** Every function fits: its parameters are asked for as `never`. */
export type AnyFunction = (...args: never[]) => unknown

/**
 * The functions of a service, by name. `then`, `catch`, `finally` and `toJSON` cannot be names: JavaScript asks every
 * object for them, so a client that had them would make calls by being awaited or logged.
 */
export type Functions = Readonly<Record<string, AnyFunction>> & {
  readonly [N in (typeof RESERVED_FUNCTION_NAMES)[number]]?: never
}
