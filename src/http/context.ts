// What every handler is given, and what the middleware learns about a request.
import type { Bell } from '../bell/bell.ts'
import type { Sql } from '../db/sql.ts'
import type { Transitions } from '../jobs/transitions.ts'
import type { Sha256 } from '../protocol/digest.ts'
import type { Grant } from '../protocol/keys.ts'
import type { Handover } from './handover.ts'
import type { Metrics } from './metrics.ts'
import type { Outage } from './outage.ts'

export interface Plane {
  sql: Sql
  transitions: Transitions
  bell: Bell
  /** Null where writers and polls do not share memory. */
  handover: Handover | null
  sha256: Sha256
  metrics: Metrics
  /** One line an event. Never payloads, never keys. */
  log: (event: LogEvent) => void
  /** How long finished jobs stay. Default 7 days. */
  retentionMs: number
  sweeps: Sweeps
}

/** What this process knows of its sweeps, in the terms of `performance.now()`. */
export interface Sweeps {
  /** When it last began one, however that ended. */
  lastAtMs: number
  /** When the last began that told of all that it found due. */
  toldAtMs: number
  /** When a poll last asked for one. */
  askedAtMs: number
  outage: Outage
}

export interface LogEvent {
  level: 'info' | 'warn' | 'error'
  event: string
  [field: string]: string | number | boolean | null | undefined
}

/** Whose key a request carries, and what it may do. */
export interface Principal {
  keyId: string
  namespace: string
  grants: readonly Grant[]
  /** The bootstrap key, which alone rules the whole plane. */
  isBootstrap: boolean
}

/** Hono's environment: what `c.get` knows behind the middleware. */
export interface HttpEnv {
  Variables: { principal: Principal; requestId: string }
}
