// What a client is told of an error: its own faults as they are, the plane's without what is inside.
import { isOutcomeUnknown, isTransient, SqlError } from '../db/sql.ts'
import { CallplaneError } from '../protocol/errors.ts'
import type { RequestId } from '../protocol/live.ts'
import { frameOf } from './audience.ts'

export function refusalOf(error: unknown): CallplaneError {
  if (error instanceof CallplaneError) return error
  if (error instanceof SqlError && (isTransient(error) || isOutcomeUnknown(error))) {
    return new CallplaneError('database_unavailable', 'the database does not answer: send the same again', {
      cause: error,
    })
  }
  return new CallplaneError('internal', 'a fault of the peer; its log tells more', { cause: error })
}

export function errorFrame(id: RequestId | null, error: unknown): string {
  const { code, message } = refusalOf(error)
  return frameOf({ Error: [id, code, message] })
}
