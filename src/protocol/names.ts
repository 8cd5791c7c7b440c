// The one rule for every name that a user chooses: services, functions, namespaces, runners' labels.
import { CallplaneError } from './errors.ts'

/** What a service, function or namespace may be called: a letter or `_`, then up to 63 of `A-Za-z0-9_.-`. */
export const NAME_PATTERN: RegExp = /^[A-Za-z_][A-Za-z0-9_.-]{0,63}$/

/**
 * Property names that JavaScript itself asks of any object. A client answers `undefined` to them, so that returning
 * a client from an async function, logging it or serialising it never makes a call; a function cannot have them.
 */
export const RESERVED_FUNCTION_NAMES = ['then', 'catch', 'finally', 'toJSON'] as const

/** Throws `invalid_name` unless `name` may name a `kind` (`service`, `function`, `namespace`). */
export function checkName(kind: 'service' | 'function' | 'namespace', name: unknown): asserts name is string {
  if (typeof name !== 'string' || !NAME_PATTERN.test(name)) {
    throw new CallplaneError(
      'invalid_name',
      `${JSON.stringify(String(name).slice(0, 80))} cannot name a ${kind}: use ${NAME_PATTERN.source}`,
    )
  }
  if (kind === 'function' && (RESERVED_FUNCTION_NAMES as readonly string[]).includes(name)) {
    throw new CallplaneError(
      'invalid_name',
      `a function cannot be called "${name}": JavaScript asks every object for it`,
    )
  }
}
