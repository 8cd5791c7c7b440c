// Lists of calls: the filter that lists, cancels and redrives by the many share, and the endpoint that lists.
import { instant, JOB_STATES, redriveFields } from './calls.ts'
import type { Endpoint } from './endpoint.ts'
import { FAILURES } from './job.ts'
import { MAX_LIST } from './limits.ts'
import { durationMs } from './policy.ts'
import { answer, array, integer, name, object, oneOf, optional, uuid, type TypeOf } from './shape.ts'

const filterFields = {
  state: optional(array(oneOf(JOB_STATES), { min: 1, max: JOB_STATES.length, description: 'in any of these states' })),
  failure: optional(array(oneOf(FAILURES), { min: 1, max: FAILURES.length, description: 'failed for any of these' })),
  service: optional(name('service')),
  function: optional(name('function')),
  parent: optional(uuid('made in this job')),
  olderThanMs: optional(durationMs('accepted longer ago than so many milliseconds')),
  newerThanMs: optional(durationMs('accepted within the last so many milliseconds')),
}

/** Which calls: those that fit all that is given. */
export const callFilter = object(filterFields)
export type CallFilter = TypeOf<typeof callFilter>

export const listCallsQuery = object({
  ...filterFields,
  limit: optional(integer({ min: 1, max: MAX_LIST, description: 'calls in the answer; default 50' })),
  cursor: optional(uuid('goes on after this call; the `next` of the answer before')),
})
export type ListCallsQuery = TypeOf<typeof listCallsQuery>

const LISTS = ['state', 'failure']
const NUMBERS = ['olderThanMs', 'newerThanMs', 'limit']

/** The parameters behind a question mark as the query that they stand for. Throws `invalid_request` as any shape does. */
export function parseListCallsQuery(parameters: Record<string, string>): ListCallsQuery {
  const values = Object.entries(parameters).map(([key, text]): [string, unknown] => {
    if (LISTS.includes(key)) return [key, text.split(',')]
    return [key, NUMBERS.includes(key) && /^\d+$/.test(text) ? Number(text) : text]
  })
  return listCallsQuery.parse(Object.fromEntries(values), 'query')
}

const count = (min: number, description?: string) =>
  integer({ min, max: Number.MAX_SAFE_INTEGER, ...(description === undefined ? {} : { description }) })

/** A call as a list shows it: without arguments, result and errors. */
export const callSummary = answer({
  id: uuid(),
  service: name('service'),
  function: name('function'),
  state: oneOf(JOB_STATES),
  failure: optional(oneOf(FAILURES)),
  attempt: count(0, 'attempts begun so far'),
  maxAttempts: count(1),
  createdAt: instant('when the plane accepted it'),
  runAt: optional(instant('earliest start of the next attempt, of a pending call')),
  startedAt: optional(instant('when the last attempt was claimed')),
  finishedAt: optional(instant('when it ended')),
  runner: optional(uuid('who took the last attempt')),
  parent: optional(uuid('the job in which the call was made')),
  ...redriveFields,
})
export type CallSummary = TypeOf<typeof callSummary>

export const listCallsAnswer = answer({
  calls: array(callSummary, { max: MAX_LIST }),
  next: optional(uuid('there may be more: ask again with it as the cursor')),
})

/** Newest first, by the time in the ids. */
export const listCalls: Endpoint<never, TypeOf<typeof listCallsAnswer>> = {
  method: 'GET',
  path: '/v1/calls',
  scope: 'watch',
  summary: 'Lists calls, newest first, without their payloads.',
  request: null,
  query: listCallsQuery,
  answer: listCallsAnswer,
  form: 'either',
}
