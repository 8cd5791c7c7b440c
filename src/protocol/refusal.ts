// Why a value cannot be sent, in words for the person who sent it.
import type { ErrorCode } from './errors.ts'
import { classNameOf } from './value-kinds.ts'

/** Where the value stands is known to the walk alone, and said once that has ended. */
export class Refusal extends Error {
  readonly code: ErrorCode

  constructor(reason: string, code: ErrorCode = 'not_serializable') {
    super(reason)
    this.code = code
  }
}

/** What to do instead, by class. */
const HINTS: ReadonlyMap<string, string> = new Map([
  ['Promise', 'await it first'],
  ['SharedArrayBuffer', 'send a copy of its bytes'],
  ...['Request', 'Response', 'Blob', 'File', 'ReadableStream'].map((name) => [name, 'send its bytes'] as const),
  ...['Number', 'String', 'Boolean'].map((name) => [name, 'send the primitive value'] as const),
])

export function refuseClass(value: object): never {
  const name = classNameOf(value)
  const what = name === 'Object' ? 'objects that inherit' : `instances of the class ${name}`
  throw new Refusal(`${what} cannot be sent; ${HINTS.get(name) ?? 'send a plain object'}`)
}

/** `thrown` may be anything that a getter or a trap of the user's threw, even a revoked proxy, which throws when asked. */
export function isRefusal(thrown: unknown): thrown is Refusal {
  try {
    return thrown instanceof Refusal
  } catch {
    return false
  }
}

export function reasonOf(thrown: unknown): string {
  if (isRefusal(thrown)) return thrown.message
  try {
    return `reading it threw ${String(thrown).slice(0, 200)}`
  } catch {
    return 'reading it threw'
  }
}
