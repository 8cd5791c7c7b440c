// Redrive: calls that have ended run anew, each as a new call that names the old one.
import { wireError } from './calls.ts'
import type { Endpoint } from './endpoint.ts'
import { callFilter } from './list-calls.ts'
import { MAX_REDRIVE } from './limits.ts'
import { answer, array, boolean, object, optional, string, uuid, type TypeOf } from './shape.ts'

export const redriveCallsRequest = object({
  ids: optional(array(uuid(), { min: 1, max: MAX_REDRIVE, description: 'these calls' })),
  filter: optional(callFilter),
  cursor: optional(string({ max: 80, description: 'with `filter`: the `next` of the answer before' })),
})

const redriven = answer({
  id: uuid('the call that had ended'),
  redrivenAs: optional(uuid('the new call')),
  isNew: optional(boolean()),
  error: optional(wireError),
})

export const redriveCallsAnswer = answer({
  calls: array(redriven, { max: MAX_REDRIVE }),
  next: optional(string({ max: 80, description: 'there may be more: ask again with it as the cursor' })),
})

/** By ids, or by a filter in steps. What is repeated answers the call that the first made. */
export const redriveCalls: Endpoint<TypeOf<typeof redriveCallsRequest>, TypeOf<typeof redriveCallsAnswer>> = {
  method: 'POST',
  path: '/v1/calls/redrive',
  scope: 'call',
  summary: 'Runs calls anew that have ended: by id, or, with the scope `admin`, by a filter.',
  request: redriveCallsRequest,
  answer: redriveCallsAnswer,
  form: 'msgpack',
}
