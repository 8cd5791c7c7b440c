// Policies and argument schemas of a function, attached to it where it is written.
import type { RetryPolicy } from '../protocol/policy.ts'
import { DEFINITION, type Defined } from './definition.ts'
import type { AnyFunction } from './functions.ts'
import { checkDefineOptions } from './options.ts'
import type { OutputsOf, Schemas } from './standard-schema.ts'

/** The policies of a function. A call can override all but `leaseMs`. */
export interface DefineOptions {
  /**
   * When an attempt that did not succeed is followed by another: `attempts` in all (default 3), `backoff` between them
   * (`initialMs` 1000, `factor` 2, `maxMs` 60000, `jitter` 'full'), and `on`, which of 'stall', 'throw', 'timeout' and
   * names or codes of errors count (default all). Default: stalls only, 3 attempts.
   */
  readonly retry?: RetryPolicy | undefined
  /** The longest time of one attempt, in milliseconds; then its `signal` aborts. Default none. */
  readonly timeoutMs?: number | undefined
  /** The longest time of the whole call from its creation, in milliseconds. Default none. */
  readonly deadlineMs?: number | undefined
  /** From -1000 to 1000, higher first. Default 0. */
  readonly priority?: number | undefined
  /** Silence after which an attempt counts as stalled, in milliseconds, 1000 to 3600000. Default 30000. */
  readonly leaseMs?: number | undefined
}

/**
 * Gives a function policies, and schemas for its arguments. `input` has one Standard Schema for each argument: the caller
 * passes what they take, the function gets what they give. They are checked by the runner, before the function runs;
 * arguments that do not pass end the call with `invalid_arguments`, which is never retried.
 *
 * Throws `invalid_option` for an option or a value that there is not, `not_supported` for one that is not built yet.
 *
 * @example
 * const send = define({ retry: { attempts: 5 }, timeoutMs: 30_000, input: [z.email(), z.string()] },
 *   async (to, body) => { … })
 */
export function define<const S extends Schemas, Result>(
  options: DefineOptions & { readonly input: S },
  fn: (...args: OutputsOf<S>) => Result,
): ((...args: OutputsOf<S>) => Result) & Defined<S>
export function define<F extends AnyFunction>(
  options: DefineOptions & { readonly input?: undefined },
  fn: F,
): F & Defined<undefined>
export function define(options: DefineOptions & { input?: Schemas | undefined }, fn: AnyFunction): AnyFunction {
  const definition = checkDefineOptions(options, fn)
  // A function of its own: the same one may be defined twice, with other options.
  function defined(this: unknown, ...args: never[]): unknown {
    return fn.apply(this, args)
  }
  return Object.defineProperty(defined, DEFINITION, { value: definition })
}
