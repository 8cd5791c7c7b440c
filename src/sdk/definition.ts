// What `define` attaches to a function.
import type { FunctionPolicy } from '../protocol/policy.ts'
import type { AnyFunction } from './functions.ts'
import type { Schemas } from './standard-schema.ts'

/** Shared by all copies of the SDK in a process, so that a function defined with one is known to the other. */
export const DEFINITION: unique symbol = Symbol.for('callplane.definition')

/** What `define` attaches to a function. */
export interface Definition<S extends Schemas | undefined = Schemas | undefined> {
  readonly policy: FunctionPolicy
  readonly input: S
}

/** A function with options. It can be called directly, in a unit test for instance: nothing is validated then. */
export interface Defined<S extends Schemas | undefined> {
  readonly [DEFINITION]: Definition<S>
}

const NO_DEFINITION: Definition = { policy: {}, input: undefined }

/** What was attached to a function; of one that was not defined, nothing. */
export function definitionOf(fn: AnyFunction | undefined): Definition {
  const definition = (fn as Partial<Defined<Schemas | undefined>> | undefined)?.[DEFINITION] // absent if not defined
  return definition ?? NO_DEFINITION
}
