// What clients ask for all to see, as rows of the log: every peer applies it at the same tick, in the same order.
import type { Json, Sql } from '../db/sql.ts'
import type { Attribute, LiveRequest } from '../protocol/live.ts'
import { ENTRY_COLUMNS, type EntryRow } from './log.ts'

/** One command, as the log keeps it. What it asks for was validated before; it may conflict with what came before it. */
export type Command =
  | { Register: { name: string; plan: Json; shards?: number } }
  | { Unregister: { name: string } }
  | { CreateAttribute: Attribute }
  | { Transact: { changes: { relation: string; row: Json; diff: number }[]; at?: number } }
  | { CloseInput: { name: string } }
  /** A row of a table beside the jobs came or changed; or went. The last one holds. */
  | { Put: { relation: string; row: Json } }
  | { Drop: { relation: string; row: Json } }
  /** The lease of a peer has run out while others were awake. */
  | { PeerGone: { peer: string } }
  /** Milliseconds since 1970 by the database's clock: all windows move there. */
  | { Time: number }
  /** A time too, up to which comes what was given for a later one. */
  | { Due: number }

/** What the request asks of all peers; null: it concerns this one alone. */
export function commandOf({ tag, body }: LiveRequest): Command | null {
  switch (tag) {
    case 'Register':
      return { Register: { ...body, plan: body.plan as Json } } // it came as JSON
    case 'Unregister':
      return { Unregister: body }
    case 'CreateAttribute':
      return { CreateAttribute: body }
    case 'CloseInput':
      return { CloseInput: body }
    case 'Transact': {
      const changes = body.changes.map(({ relation, row, diff = 1 }) => ({ relation, row: row as Json, diff })) // as above
      return { Transact: { changes, ...(body.at === undefined ? {} : { at: body.at }) } }
    }
    default:
      return null
  }
}

/** A command, and when it was appended by the database's clock. */
export interface Appended {
  command: Command
  atMs: number
}

/**
 * Whether it stays in the log, so that a peer that begins later applies it at the same place. What does not stay must leave
 * nothing behind that depends on its place.
 */
export function isKept(command: Command): boolean {
  return !('Time' in command || 'Put' in command || 'Drop' in command || 'PeerGone' in command)
}

/** Of an event `e`: a command that is kept in the log. */
const IS_KEPT = /* sql fragment */ `(e.command ? 'number' or e.command -> 'command' ? 'Due')`
/** And of the head `h`: that was not replaced by others since. */
const COUNTS = /* sql fragment */ `${IS_KEPT} and (e.tick > h.condensed_tick
  or e.tick = h.condensed_tick and e.command ? 'isCondensed')`

/** A command with the number under which its peer waits for it; none where no client sent it. */
export interface Sent {
  number?: number
  /** It was made of others, with which it shares the tick of the last. */
  isCondensed?: true
  command: Command
}

/** Appends commands of one client, in their order; one statement, and so one tick. */
export async function appendCommands(
  sql: Sql,
  namespace: string,
  client: string,
  commands: readonly Sent[],
): Promise<void> {
  await sql(
    /* sql */ `
    insert into callplane.events (namespace, subject_id, command, place)
    select $1, $2::uuid, s.command::jsonb, s.place
    from unnest($3::text[]) with ordinality as s (command, place)`,
    [namespace, client, commands.map((sent) => JSON.stringify(sent))],
  )
}

/** What says the time: for windows alone, or also for what was given for later. */
export type TimeTag = 'Time' | 'Due'

/** Appends the time by the database's clock, which it answers. */
export async function appendTime(sql: Sql, namespace: string, client: string, tag: TimeTag): Promise<number> {
  const [row] = await sql<{ at_ms: number }>(
    /* sql */ `
    insert into callplane.events (namespace, subject_id, command)
    values ($1, $2::uuid, jsonb_build_object('command',
      jsonb_build_object($3::text, floor(extract(epoch from now()) * 1000)::int8)))
    returning floor(extract(epoch from at) * 1000)::int8 as at_ms`,
    [namespace, client, tag],
  )
  return row?.at_ms ?? 0
}

/** Drops the times that are older than `keptMs`, whichever peer appended them: every peer has applied a later one. */
export async function forgetTimes(sql: Sql, namespace: string, { keptMs }: { keptMs: number }) {
  await sql(
    /* sql */ `
    delete from callplane.events
    where namespace = $1 and command is not null and at <= now() - $2::int8 * interval '1 millisecond'
      and command -> 'command' ? 'Time'`,
    [namespace, keptMs],
  )
}

/**
 * The latest time up to a tick; null where none is left. Of those that were forgotten, all were earlier than any that is
 * left, so that this is what a peer has that applied them all.
 */
export async function findTime(sql: Sql, namespace: string, { until }: { until: number }): Promise<number | null> {
  const [row] = await sql<{ time: number | null }>(
    /* sql */ `
    select max((command -> 'command' ->> 'Time')::int8) as time from callplane.events
    where namespace = $1 and command is not null and tick <= $2::int8 and command -> 'command' ? 'Time'`,
    [namespace, until],
  )
  return row?.time ?? null
}

/** The tables beside the jobs as they are, as commands that make them. */
async function readTables(sql: Sql, namespace: string): Promise<Appended[]> {
  const rows = await sql<{ relation: string; row: Json }>(
    /* sql */ `
    select 'runners' as relation, jsonb_build_object('id', id, 'host', host, 'sdk', sdk,
      'joined_at', floor(extract(epoch from joined_at) * 1000)::int8,
      'left_at', floor(extract(epoch from left_at) * 1000)::int8) as row
    from callplane.runners where namespace = $1
    union all
    select 'services', jsonb_build_object('service', service, 'function', name)
    from callplane.functions where namespace = $1`,
    [namespace],
  )
  return rows.map((row) => ({ command: { Put: row }, atMs: 0 }))
}

/** What a peer applies that begins at a tick. Rows of tables may be newer: what comes by the log makes them so again. */
export async function readCommands(sql: Sql, namespace: string, { until }: { until: number }): Promise<Appended[]> {
  return [...(await readTables(sql, namespace)), ...(await readSent(sql, namespace, { until }))]
}

/** The commands that stay in the log, up to a tick. */
export async function readSent(sql: Sql, namespace: string, { until }: { until: number }): Promise<Appended[]> {
  const rows = await sql<EntryRow>(
    /* sql */ `
    select ${ENTRY_COLUMNS} from callplane.heads h
    join callplane.events e on e.namespace = $1 and e.command is not null and e.tick <= $2::int8
    where h.namespace = $1 and ${COUNTS}
    order by e.tick nulls last, e.at, e.subject_id, e.place nulls first`,
    [namespace, until],
  )
  return rows.map(({ command, at_ms: atMs }) => ({ command: (command as unknown as Sent).command, atMs })) // as appended
}

/**
 * Commands that were appended long ago: how many, and the tick of the last. `condensedTick`: up to there they were condensed
 * before.
 */
export interface OldCommands {
  count: number
  tick: number
  condensedTick: number
}

/** Null where there are none. */
export async function findCommandsToCondense(
  sql: Sql,
  namespace: string,
  { keptMs }: { keptMs: number },
): Promise<OldCommands | null> {
  const [row] = await sql<{ count: number; tick: number; condensed_tick: number }>(
    /* sql */ `
    select h.condensed_tick, count(*) as count, max(e.tick) as tick
    from callplane.heads h
    join callplane.events e on e.namespace = $1 and e.command is not null and e.tick is not null
      and e.at <= now() - $2::int8 * interval '1 millisecond'
    where h.namespace = $1 and ${COUNTS}
    group by h.condensed_tick`,
    [namespace, keptMs],
  )
  return row === undefined ? null : { count: row.count, tick: row.tick, condensedTick: row.condensed_tick }
}

/**
 * Puts these commands in the place of those up to a tick, as if one client had sent them at once. Whether it did: somebody else may
 * have meanwhile. Who has come no further begins anew.
 */
export async function replaceCommands(
  sql: Sql,
  namespace: string,
  commands: readonly Command[],
  { tick, condensedTick, atMs }: OldCommands & { atMs: number },
): Promise<boolean> {
  const sent = commands.map((command, number): Sent => ({ number, isCondensed: true, command }))
  const [row] = await sql<{ done: number }>(
    /* sql */ `
    with head as (
      update callplane.heads set condensed_tick = $2::int8, base_tick = greatest(base_tick, $2::int8)
      where namespace = $1 and condensed_tick = $3::int8
      returning namespace
    ), made as (
      insert into callplane.events (namespace, subject_id, at, tick, command, place)
      select head.namespace, $4::uuid, timestamptz 'epoch' + $5::int8 * interval '1 millisecond', $2::int8,
        c.command::jsonb, c.place
      from head, unnest($6::text[]) with ordinality as c (command, place)
    )
    select count(*) as done from head`,
    [namespace, tick, condensedTick, crypto.randomUUID(), atMs, sent.map((one) => JSON.stringify(one))],
  )
  return row?.done === 1
}

/** Deletes the commands that were replaced, and what was said by the way up to there. */
export async function forgetReplaced(sql: Sql, namespace: string): Promise<void> {
  await sql(
    /* sql */ `
    delete from callplane.events e
    using callplane.heads h
    where h.namespace = $1 and e.namespace = $1 and e.command is not null and e.tick <= h.condensed_tick
      and (${IS_KEPT} or e.command -> 'command' ? 'PeerGone') and not (${COUNTS})`,
    [namespace],
  )
}
