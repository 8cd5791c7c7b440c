// Giving ticks: events that have committed, and have none, get the next one together.
//
//   writers ── insert, commit ──▶ no tick ── stamp: one at a time, fenced ──▶ tick 7 ──▶ peers read in order
//
// A stamp holds the head's row until it commits, so that no tick becomes visible before an earlier one. Events of one
// transaction have one time, and a stamp takes all of a time or none: no transaction is split over ticks.
import type { Sql } from '../db/sql.ts'
import { ENTRY_COLUMNS, toEntry, type Entry, type EntryRow } from './log.ts'

/**
 * No transaction lasts as long: a statement ends after half of it, and a transaction is one statement. So events from
 * before have committed, or never will.
 */
const MAX_TRANSACTION_MS = 60_000
/** Who was away while more than so many events were written is better served by a new snapshot than by reading them. */
const MAX_BACKLOG = 20_000

export interface Head {
  tick: number
  /** Who stands before this tick has missed events. */
  baseTick: number
}

/** Where stamping begins: about here where nobody has watched for long, else where it stopped. */
export async function beginWatching(sql: Sql, namespace: string): Promise<Head> {
  const [row] = await sql<{ tick: number; base_tick: number }>(
    /* sql */ `
    insert into callplane.heads as h (namespace, watched_from)
    values ($1, now() - $2::int8 * interval '1 millisecond')
    on conflict (namespace) do update
      set watched_from = excluded.watched_from, tick = h.tick + 1, base_tick = h.tick + 1
      where $3::int8 <= (
        select count(*) from (
          select 1 from callplane.events e
          where e.namespace = $1 and e.tick is null and e.at >= h.watched_from and e.at < excluded.watched_from
          limit $3::int8
        ) backlog
      )
    returning h.tick, h.base_tick`,
    [namespace, MAX_TRANSACTION_MS, MAX_BACKLOG],
  )
  return row === undefined ? findHead(sql, namespace) : { tick: row.tick, baseTick: row.base_tick }
}

async function findHead(sql: Sql, namespace: string): Promise<Head> {
  const [row] = await sql<{ tick: number; base_tick: number }>(
    /* sql */ `select tick, base_tick from callplane.heads where namespace = $1`,
    [namespace],
  )
  return { tick: row?.tick ?? 0, baseTick: row?.base_tick ?? 0 }
}

/** Who gives the ticks of a namespace. */
export interface Stamper {
  namespace: string
  holder: string
  epoch: number
}

/** Becomes the stamper of a namespace that somebody has begun to watch, or stays it; null: another is, and is alive. */
export async function takeHead(
  sql: Sql,
  namespace: string,
  holder: string,
  { leaseMs }: { leaseMs: number },
): Promise<Stamper | null> {
  const [row] = await sql<{ epoch: number }>(
    /* sql */ `
    update callplane.heads
    set epoch = epoch + 1, holder = $2::uuid, expires_at = now() + $3::int8 * interval '1 millisecond'
    where namespace = $1 and (holder is null or holder = $2::uuid or expires_at <= now())
    returning epoch`,
    [namespace, holder, leaseMs],
  )
  return row === undefined ? null : { namespace, holder, epoch: row.epoch }
}

/**
 * One tick for about `limit` events that have none, the oldest first, and the lease anew; no tick where there are none. What
 * it stamped is the answer, so that its own peer need not read it. Null: another is the stamper now.
 *
 * `isOfClients`: commands that clients have sent, and nothing else. Each of those transactions is a client's alone, so that
 * one may come before what other transactions wrote earlier.
 */
export async function stampEvents(
  sql: Sql,
  { namespace, holder, epoch }: Stamper,
  { limit, leaseMs, isOfClients = false }: { limit: number; leaseMs: number; isOfClients?: boolean },
): Promise<Entry[] | null> {
  const rows = await sql<(EntryRow | { [K in keyof EntryRow]: null }) & { is_held: boolean }>(
    /* sql */ `
    with head as (
      select tick, watched_from from callplane.heads where namespace = $1 and epoch = $2::int8 and holder = $3::uuid
    ), fresh as (
      (select at from callplane.events
      where $7::bool and namespace = $1 and tick is null and at >= (select watched_from from head)
        and command is not null and command ? 'number'
      order by at
      limit $4::int8 + 1)
      union all
      (select at from callplane.events
      where not $7::bool and namespace = $1 and tick is null and at >= (select watched_from from head)
      order by at
      limit $4::int8 + 1)
    ), bounds as (
      select min(at) as first_at, max(at) as last_at, count(*) <= $4::int8 as is_all from fresh
    ), moved as (
      update callplane.heads h
      set tick = h.tick + 1, expires_at = now() + $5::int8 * interval '1 millisecond',
        watched_from = case when $7::bool then h.watched_from
          else greatest(h.watched_from, least(b.first_at, now() - $6::int8 * interval '1 millisecond')) end
      from bounds b
      where h.namespace = $1 and h.epoch = $2::int8 and h.holder = $3::uuid and b.first_at is not null
      returning h.tick
    ), stamped as (
      update callplane.events e
      set tick = m.tick
      from bounds b, moved m
      where e.namespace = $1 and e.tick is null and (not $7::bool or e.command ? 'number')
        and e.at >= (select first_at from bounds) and e.at <= (select last_at from bounds)
        and (b.is_all or e.at < b.last_at or b.first_at = b.last_at)
      returning e.*
    )
    select exists (select 1 from head) as is_held, ${ENTRY_COLUMNS}
    from (select 1) one
    left join stamped e on true
    order by e.at, e.subject_id, e.place nulls first`,
    [namespace, epoch, holder, limit, leaseMs, MAX_TRANSACTION_MS, isOfClients],
  )
  if (rows[0]?.is_held !== true) return null
  return rows.flatMap((row) => (row.tick === null ? [] : [toEntry(row)]))
}
