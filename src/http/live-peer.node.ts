// The peer of live queries beside the handlers of one Node process: the same keys, the same bell, and a log that it reads.
import type { Server } from 'node:http'
import { pgSql } from '../db/pg.ts'
import type { Sql } from '../db/sql.ts'
import { dial } from '../live/dial.node.ts'
import { Peer } from '../live/peer.ts'
import type { Load } from '../live/presence.ts'
import { readForEver, type LogReader, type ReaderEvents } from '../live/reader.ts'
import { loadOf } from '../live/standing.ts'
import { showAddress } from '../live/tcp.node.ts'
import { threadedLog } from '../live/threaded-log.node.ts'
import { openTransports, type TransportOptions } from '../live/transports.node.ts'
import type { PeerStatus } from '../protocol/live.ts'
import type { App } from './app.ts'
import { livePeerOptions } from './live-peer.ts'
import type { GaugeValues } from './metrics.ts'

/** For reading tables and appending commands, beside those of the calls. */
const CONNECTIONS = 4

/** Where the log is read: in a thread of its own, or over the one connection there is. */
export interface LogSource {
  /** For reading tables and appending commands, beside the transitions. */
  sql: Sql
  openLog: (namespace: string, events: ReaderEvents) => LogReader
  close(): Promise<void>
}

/** Where others reach it, and how it reaches them; and of its presence among them the lease, if not the usual one. */
export interface LivePeerOptions {
  address: () => string | null
  /** As the peer knows it. */
  invite?: ((namespace: string) => Promise<boolean>) | undefined
  leaseMs?: number | undefined
}

/** Closing it closes its log. */
export function livePeer(app: App, log: LogSource, { address, invite, leaseMs }: LivePeerOptions): Peer {
  const peer = new Peer({
    ...livePeerOptions(app),
    dial,
    address,
    ...(invite === undefined ? {} : { invite }),
    sql: log.sql,
    openLog: log.openLog,
    closed: () => log.close(),
    presence: { isAwake: true, leaseMs },
    breathe: () => new Promise((resolve) => setImmediate(resolve)),
    log: app.plane.log,
  })
  app.plane.metrics.readGauges(() => gaugesOf(peer.status()))
  return peer
}

function gaugesOf(all: readonly PeerStatus[]): GaugeValues {
  const loads = all.map(loadOf)
  const sum = (of: keyof Load): number => loads.reduce((total, load) => total + load[of], 0)
  return {
    callplane_live_clients: sum('clients'),
    callplane_live_slow_clients: sum('slowClients'),
    callplane_live_queries: sum('queries'),
    callplane_live_rows: sum('rows'),
    callplane_live_bytes: sum('bytes'),
    callplane_live_lag_ticks: Math.max(0, ...all.map(({ lag }) => lag)),
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
