// What a peer gives to the room of a namespace, and may ask of it.
import type { Sql } from '../db/sql.ts'
import type { Plan } from '../protocol/plan.ts'
import type { Dataflow, Query } from './kernel/dataflow.ts'
import type { PresenceTimes } from './presence.ts'
import type { Dial } from './piece-feed.ts'
import type { LogReader, ReaderEvents } from './reader.ts'
import type { Registry } from './registry.ts'

/** What a query may hold, unless the options say so. */
export const MAX_ROWS = 1_000_000

export interface RoomOptions {
  /** The id of the peer. */
  peer: string
  clients: () => number
  /** For reading tables: statements that may take long. */
  sql: Sql
  /** Before a commit. */
  arm: () => Promise<void>
  /** `after`: what it has already; null: nothing. */
  openLog: (events: ReaderEvents, after: number | null) => LogReader
  /** What an earlier life has kept; null: nothing. Default: nothing. */
  checkpoint?: () => string | null
  builtIn: ReadonlyMap<string, Plan>
  /** How other peers are reached, to share queries with them. Default: queries run whole. */
  dial?: Dial
  /** Where they reach this one over HTTP; null: they do not. */
  address?: () => string | null
  /** Asks all other processes to take part. Whether there may be any. Default: there are none. */
  invite?: () => Promise<boolean>
  /** Lets other things have their turn. */
  breathe: () => Promise<void>
  /** What a query may hold. */
  maxRows?: number
  /** A query that nobody is interested in any more goes on for so long, for who comes back. Default 60 s. */
  lingerMs?: number
  presence?: PresenceTimes
  log: (event: { level: 'warn'; event: string; detail: string }) => void
}

export interface RoomState {
  tick: number
  registry: Registry
  flow: Dataflow
  /** By name: the queries that somebody is interested in, of those that run whole. */
  watched: ReadonlyMap<string, Query>
}
