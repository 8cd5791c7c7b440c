// What a peer gives to the room of a namespace, and may ask of it.
import type { Sql } from '../db/sql.ts'
import type { Plan } from '../protocol/plan.ts'
import type { Dataflow } from './kernel/dataflow.ts'
import type { PresenceTimes } from './presence.ts'
import type { Dial } from './piece-feed.ts'
import type { LogReader, ReaderEvents } from './reader.ts'
import type { Registry } from './registry.ts'

export interface RoomOptions {
  /** The id of the peer. */
  peer: string
  clients: () => number
  /** For reading tables: statements that may take long. */
  sql: Sql
  /** Before a commit. */
  arm: () => Promise<void>
  openLog: (events: ReaderEvents) => LogReader
  builtIn: ReadonlyMap<string, Plan>
  /** How other peers are reached, to share queries with them. Default: queries run whole. */
  dial?: Dial
  /** Where they reach this one over HTTP; null: they do not. */
  address?: () => string | null
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
}
