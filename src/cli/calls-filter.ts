// The options that say which calls, for each command on calls; and the ids that can stand in their place.
import type { CallFilter } from '../sdk/admin.ts'
import { UsageError } from './command.ts'
import { readDuration } from './duration.ts'

export const FILTER_OPTIONS = {
  state: { type: 'string' },
  failed: { type: 'boolean', default: false },
  failure: { type: 'string' },
  service: { type: 'string' },
  function: { type: 'string' },
  parent: { type: 'string' },
  since: { type: 'string' },
  before: { type: 'string' },
  all: { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
} as const

export const FILTER_HELP = `  --state     pending, running, succeeded, failed or cancelled; several with commas
  --failed    the same as --state failed
  --failure   threw, timed_out, stalled or expired; several with commas
  --service, --function
  --parent    calls that this call made
  --since     made within this time: 90s, 15m, 2h, 7d
  --before    made longer ago than this`

interface FilterValues {
  state?: string | undefined
  failed: boolean
  failure?: string | undefined
  service?: string | undefined
  function?: string | undefined
  parent?: string | undefined
  since?: string | undefined
  before?: string | undefined
  all: boolean
}

/** The SDK says what is wrong with a name, a state or an id. */
export function readFilter({ state, failed, failure, service, function: name, parent, since, before }: FilterValues) {
  if (failed && state !== undefined) throw new UsageError('--failed is --state failed: use one of them')
  const states = failed ? 'failed' : state
  return {
    ...(states === undefined ? {} : { state: states.split(',') }),
    ...(failure === undefined ? {} : { failure: failure.split(',') }),
    ...(service === undefined ? {} : { service }),
    ...(name === undefined ? {} : { function: name }),
    ...(parent === undefined ? {} : { parent }),
    ...(since === undefined ? {} : { newerThanMs: readDuration('--since', since) }),
    ...(before === undefined ? {} : { olderThanMs: readDuration('--before', before) }),
  } as CallFilter // the SDK checks the words
}

/** What a command that changes calls is to change: ids, or a filter; never all of them without the word. */
export function readTarget(ids: string[], values: FilterValues, all: CallFilter): string[] | CallFilter {
  const filter = readFilter(values)
  const isFilter = Object.keys(filter).length > 0 || values.all
  if (ids.length > 0 && isFilter) throw new UsageError('name calls by their ids or by options, not by both')
  if (ids.length > 0) return ids
  if (!isFilter) throw new UsageError('say which calls: ids, options such as --service NAME, or --all')
  return values.all ? { ...all, ...filter } : filter
}
