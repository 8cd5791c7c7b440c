// Which calls: the filter of lists, cancels and redrives, as users write it and as it travels.
import { CallplaneError } from '../protocol/errors.ts'
import { IS_FINAL, type Failure, type JobState } from '../protocol/job.ts'
import type { CallFilter as WireFilter } from '../protocol/list-calls.ts'
import { checkName } from '../protocol/names.ts'
import { checkedCallId } from './call-id.ts'
import { checked, number, test, type Checks } from './options.ts'

/** Calls that fit all that is given. Durations are in milliseconds, by the clock of the plane's database. */
export interface CallFilter {
  /** In this state, or in one of these. */
  readonly state?: JobState | readonly JobState[] | undefined
  /** Failed for this reason, or one of these. */
  readonly failure?: Failure | readonly Failure[] | undefined
  readonly service?: string | undefined
  readonly function?: string | undefined
  /** Made by the function that ran as this call. */
  readonly parent?: string | undefined
  /** Accepted by the plane longer ago than this. */
  readonly olderThanMs?: number | undefined
  /** Accepted by the plane within this time. */
  readonly newerThanMs?: number | undefined
}

const duration = number(1, 365 * 86_400_000)
const states = Object.keys(IS_FINAL)
const failures: Record<Failure, true> = { threw: true, timed_out: true, stalled: true, expired: true }

const checks: Checks = {
  state: someOf(states),
  failure: someOf(Object.keys(failures)),
  service: (value) => checkName('service', value),
  function: (value) => checkName('function', value),
  parent: (value) => void checkedCallId(value),
  olderThanMs: duration,
  newerThanMs: duration,
}

function someOf(known: readonly string[]) {
  return test(`one of ${known.join(', ')}, or a list of them`, (value) => {
    const items: unknown[] = Array.isArray(value) ? value : [value]
    return items.length > 0 && items.every((item) => typeof item === 'string' && known.includes(item))
  })
}

/** The filter as it travels. Throws `invalid_option` for a field or a value that there is not, `invalid_name`. */
export function wireFilter(where: string, filter: CallFilter): WireFilter {
  const { state, failure, parent, ...rest } = checked(where, filter, checks) as CallFilter // each was checked just now
  return {
    ...(rest as Pick<WireFilter, 'service' | 'function' | 'olderThanMs' | 'newerThanMs'>), // without those that are undefined
    ...(state === undefined ? {} : { state: listOf(state) }),
    ...(failure === undefined ? {} : { failure: listOf(failure) }),
    ...(parent === undefined ? {} : { parent: parent.toLowerCase() }),
  }
}

/** The same, and not empty: what changes calls must not take all of them because a variable was undefined. */
export function narrowFilter(where: string, filter: CallFilter): WireFilter {
  const wire = wireFilter(where, filter)
  if (Object.keys(wire).length > 0) return wire
  const message = `${where} takes a filter that says something: { state: … } where all calls of a state are meant`
  throw new CallplaneError('invalid_option', message)
}

/** What stands behind the question mark. */
export function queryOf({ state, failure, ...rest }: WireFilter): URLSearchParams {
  const query = new URLSearchParams()
  if (state !== undefined) query.set('state', state.join())
  if (failure !== undefined) query.set('failure', failure.join())
  for (const [name, value] of Object.entries(rest)) query.set(name, String(value))
  return query
}

function listOf<T>(value: T | readonly T[]): T[] {
  return Array.isArray(value) ? [...new Set<T>(value)] : [value as T] // a state or a failure, which are strings
}
