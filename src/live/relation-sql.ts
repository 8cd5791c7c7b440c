// The relations of a namespace as selects from its tables; the namespace is $1.

/**
 * Instants are cut down to whole milliseconds before they are subtracted, as a reader of milliseconds does it. A job that
 * waits shows nothing of an attempt that is over, so that the log can tell what it was without.
 */
const JOBS = /* sql */ `
  select id::text collate "C" as id, service collate "C" as service, function collate "C" as function,
    state collate "C" as state, failure collate "C" as failure,
    case when state <> 'pending' then runner_id::text collate "C" end as runner,
    attempt, priority, parent_id::text collate "C" as parent,
    floor(extract(epoch from created_at) * 1000)::int8 as created_at,
    case when state <> 'pending' then floor(extract(epoch from started_at) * 1000)::int8 end as started_at,
    floor(extract(epoch from finished_at) * 1000)::int8 as finished_at,
    case when state <> 'pending' then
      floor(extract(epoch from started_at) * 1000)::int8 - floor(extract(epoch from run_at) * 1000)::int8 end as wait_ms,
    floor(extract(epoch from finished_at) * 1000)::int8 - floor(extract(epoch from started_at) * 1000)::int8 as run_ms
  from callplane.jobs where namespace = $1`

const RUNNERS = /* sql */ `
  select id::text collate "C" as id, host collate "C" as host, sdk collate "C" as sdk,
    floor(extract(epoch from joined_at) * 1000)::int8 as joined_at,
    floor(extract(epoch from left_at) * 1000)::int8 as left_at
  from callplane.runners where namespace = $1`

const SERVICES = /* sql */ `
  select service collate "C" as service, name collate "C" as function from callplane.functions where namespace = $1`

const REDRIVES = /* sql */ `
  select id::text collate "C" as id, redriven_from::text collate "C" as redriven_from
  from callplane.jobs where namespace = $1 and redriven_from is not null`

const SELECTS = new Map([
  ['jobs', JOBS],
  ['redrives', REDRIVES],
  ['runners', RUNNERS],
  ['services', SERVICES],
])

export function relationSql(relation: string, own: ReadonlyMap<string, string> = new Map()): string {
  const select = SELECTS.get(relation) ?? own.get(relation)
  if (select === undefined) throw new TypeError(`no select for the relation ${relation}`)
  return select
}
