// Checking arguments against the schemas of a function, in the runner, before the function sees them.
import { CallplaneError } from '../protocol/errors.ts'
import { pathOf } from '../protocol/payload-path.ts'
import type { Schemas } from './standard-schema.ts'

/** As many as a person reads; a large array can have thousands. */
const MAX_ISSUES = 5

/** What the schemas make of the arguments, or `invalid_arguments` naming each path that does not pass. */
export async function checkArguments(schemas: Schemas, args: readonly unknown[]): Promise<unknown[]> {
  if (args.length > schemas.length) {
    throw new CallplaneError('invalid_arguments', `the function takes ${schemas.length} arguments, not ${args.length}`)
  }
  const results = await Promise.all(schemas.map((schema, index) => schema['~standard'].validate(args[index])))
  const wrong: string[] = []
  const values = results.map((result, index) => {
    if (result.issues === undefined) return result.value
    for (const { path = [], message } of result.issues) {
      const keys = [index, ...path.map((step) => (typeof step === 'object' ? step.key : step))]
      wrong.push(
        `${pathOf(
          'args',
          Array.from(keys, () => undefined),
          keys,
        )}: ${message}`,
      )
    }
    return undefined
  })
  if (wrong.length > 0) throw new CallplaneError('invalid_arguments', wrong.slice(0, MAX_ISSUES).join('; '))
  return values
}
