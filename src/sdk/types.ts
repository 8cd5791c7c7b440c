// The types of the surface: how the functions of a service become the functions of its clients.
import type { CallplaneError } from '../protocol/errors.ts'
import type { RetryPolicy } from '../protocol/policy.ts'
import type { Call } from './call.ts'
import type { Defined } from './definition.ts'
import type { Functions } from './functions.ts'
import type { InputsOf, Schemas } from './standard-schema.ts'

/** What `plane.client` must know of a service: its type parameter, as in `plane.client<typeof mailer>('mailer')`. */
export interface AnyService {
  readonly name: string
  readonly functions: Functions
}

/** A service of which nothing is known at compile time. */
export interface UntypedService {
  readonly name: string
  readonly functions: Readonly<Record<string, (...args: unknown[]) => unknown>>
}

/** What a caller of the function passes: the inputs of its schemas, or else its parameters. */
export type ArgumentsOf<F> =
  F extends Defined<infer S extends Schemas> ? InputsOf<S> : F extends (...args: infer A) => unknown ? A : never

/** What a caller of the function gets. */
export type ResultOf<F> = F extends (...args: never[]) => infer R ? Settled<R> : never

/** Awaited, which costs the compiler four times as much, is kept for what is no plain promise. */
type Settled<R> = R extends Promise<infer Value> ? Value : R extends PromiseLike<unknown> ? Awaited<R> : R

/**
 * The functions of a service, as its callers see them. It has no other properties: it can be returned from an async
 * function, logged and compared without making a call.
 */
export type Client<S extends AnyService> = {
  readonly [N in keyof S['functions']]-?: RemoteFunction<ArgumentsOf<S['functions'][N]>, ResultOf<S['functions'][N]>>
}

/** A function that runs elsewhere. To call it makes the call and waits for its end. */
export interface RemoteFunction<Args extends readonly unknown[], Result> {
  /**
   * Makes the call and waits: resolves with what the function returns, rejects with what it throws. The plane's own ends
   * are CallplaneErrors: `call_timed_out`, `call_stalled`, `call_expired`, `call_cancelled`; so are `invalid_arguments`,
   * `result_not_serializable` and `payload_too_large`. An argument that cannot be sent is `not_serializable`, a plane
   * that does not take the call for `deadlineMs` or else 5 minutes `plane_unreachable`.
   */
  (...args: Args): Promise<Result>
  /** Makes the call, and resolves once it is durable: it will run although this process ends. */
  readonly start: (...args: Args) => Promise<Call<Result>>
  /**
   * Makes many calls in one request (more than 1,000, or 5 MiB, are split). In the order given: the call, or why there is
   * none.
   */
  readonly batch: (calls: readonly Readonly<Args>[]) => Promise<(Call<Result> | CallplaneError)[]>
  /** The call of this id, made earlier, by whichever process. Whether it exists shows when it is used (`not_found`). */
  readonly handle: (id: string) => Call<Result>
  /**
   * The same function with options for its calls. Throws `invalid_option` for an option or a value that there is not,
   * `not_supported` for one that is not built yet; both here, before any call.
   */
  readonly with: (options: CallOptions) => RemoteFunction<Args, Result>
}

/** Options of one call. Those that a function has too override what it was defined with. */
export interface CallOptions {
  /** See `define`. */
  readonly retry?: RetryPolicy | undefined
  /** The longest time of one attempt, in milliseconds. */
  readonly timeoutMs?: number | undefined
  /** The longest time of the whole call, in milliseconds: then it fails with `call_expired`. Default none. */
  readonly deadlineMs?: number | undefined
  /** From -1000 to 1000, higher first. Default 0. */
  readonly priority?: number | undefined
  /** The earliest start, in milliseconds from now. Default 0. */
  readonly delayMs?: number | undefined
  /**
   * Aborting it cancels the call, and rejects what waits for it, at once, with the signal's reason. A call that was
   * started is cancelled by it as long as the signal lives.
   */
  readonly signal?: AbortSignal | undefined
}
