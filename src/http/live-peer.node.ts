// The peer of live queries beside the handlers of one Node process: the same keys, the same bell, and a log that it reads.
import type { Server } from 'node:http'
import { pgSql } from '../db/pg.ts'
import type { Row, Sql, SqlParam } from '../db/sql.ts'
import { Peer } from '../live/peer.ts'
import { readForEver, type LogReader, type ReaderEvents } from '../live/reader.ts'
import { showAddress } from '../live/tcp.node.ts'
import { threadedLog } from '../live/threaded-log.node.ts'
import { openTransports, type TransportOptions } from '../live/transports.node.ts'
import { BUILT_IN_QUERIES } from '../protocol/built-in-queries.ts'
import { parsePlan } from '../protocol/parse-plan.ts'
import { RELATIONS } from '../protocol/relations.ts'
import type { App } from './app.ts'
import { authorizeWhole } from './auth.ts'

/** In the form that plans of clients get too, so that equal ones are one query. */
const BUILT_IN = new Map(Array.from(BUILT_IN_QUERIES, ([name, plan]) => [name, parsePlan(plan, RELATIONS).plan]))

/** For reading tables and appending commands, beside those of the calls. */
const CONNECTIONS = 4

/** Where the log is read: in a thread of its own, or over the one connection there is. */
export interface LogSource {
  /** For reading tables and appending commands, beside the transitions. */
  sql: Sql
  openLog: (namespace: string, events: ReaderEvents) => LogReader
  close(): Promise<void>
}

/** Closing it closes its log. */
export function livePeer({ plane, principalOf }: App, log: LogSource): Peer {
  return new Peer({
    sql: log.sql,
    openLog: log.openLog,
    closed: () => log.close(),
    async authenticate(key) {
      const principal = await principalOf(key)
      authorizeWhole(principal, 'watch')
      return { namespace: principal.namespace }
    },
    arm: (namespace) => plane.bell.arm(namespace),
    breathe: () => new Promise((resolve) => setImmediate(resolve)),
    builtIn: BUILT_IN,
    log: plane.log,
  })
}

/** The same, and tells of each statement that has written events. */
export function tellingSql(sql: Sql, told: () => void): Sql {
  const writes = new Map<string, boolean>()
  return async <R extends Row>(text: string, params?: readonly SqlParam[]) => {
    const rows = await sql<R>(text, params)
    let isWriting = writes.get(text)
    if (isWriting === undefined) writes.set(text, (isWriting = text.includes('insert into callplane.events')))
    if (isWriting) told()
    return rows
  }
}

/** The ways to the peer, which goes with them. */
export async function openLive(
  peer: Peer,
  server: Server,
  options: TransportOptions,
): Promise<{ tcp: string | null; close(): Promise<void> }> {
  try {
    const transports = await openTransports(server, peer, options)
    const close = async () => {
      await peer.close()
      await transports.close()
    }
    return { tcp: transports.tcp && showAddress(transports.tcp), close }
  } catch (error) {
    await peer.close()
    throw error
  }
}

/** The log of a Postgres, read in a thread; and tables, over connections that no call waits for. */
export function threadedLogOf(databaseUrl: string): LogSource {
  const thread = threadedLog(databaseUrl)
  const { sql, close } = pgSql({ connectionString: databaseUrl, max: CONNECTIONS })
  return { sql, openLog: thread.openLog, close: async () => void (await Promise.all([thread.close(), close()])) }
}

/** The log of a database with one connection, on which it is read between the other statements. */
export function ownLog(sql: Sql): LogSource {
  return { sql, openLog: (namespace, events) => readForEver(sql, namespace, events), close: async () => {} }
}
