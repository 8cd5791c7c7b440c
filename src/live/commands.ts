// What clients ask for all to see, as rows of the log: every peer applies it at the same tick, in the same order.
import type { Json, Sql } from '../db/sql.ts'
import type { Attribute } from '../protocol/live.ts'
import { toEntry, ENTRY_COLUMNS, type EntryRow, type SentCommand } from './log.ts'

/** One command, as the log keeps it. What it asks for was validated before; it may conflict with what came before it. */
export type Command =
  | { Register: { name: string; plan: Json } }
  | { Unregister: { name: string } }
  | { CreateAttribute: Attribute }
  | { Transact: { changes: { relation: string; row: Json; diff: number }[] } }
  | { CloseInput: { name: string } }
  /** Milliseconds since 1970 by the database's clock: all windows move there. */
  | { Time: number }

/** A command with the number under which its peer waits for it. */
export interface Sent {
  number: number
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

/** Appends the time, by the database's clock. */
export async function appendTime(sql: Sql, namespace: string, client: string): Promise<void> {
  await sql(
    /* sql */ `
    insert into callplane.events (namespace, subject_id, command)
    values ($1, $2::uuid, jsonb_build_object('number', 0, 'command',
      jsonb_build_object('Time', floor(extract(epoch from now()) * 1000)::int8)))`,
    [namespace, client],
  )
}

/** Drops the times of one peer that are older than `keptMs`: every peer has applied a later one. */
export async function forgetTimes(sql: Sql, namespace: string, client: string, { keptMs }: { keptMs: number }) {
  await sql(
    /* sql */ `
    delete from callplane.events
    where namespace = $1 and subject_id = $2::uuid and at <= now() - $3::int8 * interval '1 millisecond'
      and command -> 'command' ? 'Time'`,
    [namespace, client, keptMs],
  )
}

/** Every command up to a tick, for a peer that begins there. */
export async function readCommands(sql: Sql, namespace: string, { until }: { until: number }): Promise<SentCommand[]> {
  const rows = await sql<EntryRow>(
    /* sql */ `
    select ${ENTRY_COLUMNS} from callplane.events e
    where e.namespace = $1 and e.command is not null and e.tick <= $2::int8
    order by e.tick nulls last, e.at, e.place nulls first, e.id`,
    [namespace, until],
  )
  return rows.map(toEntry).filter((entry) => 'command' in entry)
}
