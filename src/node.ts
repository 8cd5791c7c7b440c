// The Node entry: the control plane over HTTP, on the embedded database or on any Postgres.
import { createHash } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { PGlite } from '@electric-sql/pglite'
import { createAdaptorServer } from '@hono/node-server'
import { Pool } from 'pg'
import { inProcessBell, type LocalBell } from './bell/in-process.ts'
import { notifyChannel } from './bell/notify.ts'
import { sharedBell, type SharedBell } from './bell/shared.ts'
import { insertKey } from './db/keys.ts'
import { checkSchema, migrate, type Migrated } from './db/migrate.ts'
import { readSchema } from './db/migrations.node.ts'
import { startNeonEndpoint } from './db/neon-endpoint.node.ts'
import { pgSql } from './db/pg.ts'
import { openEmbedded, type EmbeddedDatabase } from './db/pglite.node.ts'
import { NO_CONNECTION, SqlError, type Sql } from './db/sql.ts'
import { createApp } from './http/app.ts'
import { bootstrapKey } from './http/auth.ts'
import type { LogEvent, Plane } from './http/context.ts'
import { maintain, maintainAndArm } from './http/maintenance.ts'
import { livePeer, openLive, ownLog, threadedLogOf, type LogSource } from './http/live-peer.node.ts'
import { tellingSql } from './http/telling-sql.ts'
import { closeServer, tuneServer } from './http/server.node.ts'
import { peerAddress } from './live/peer-address.node.ts'
import { showAddress, type TcpAddress } from './live/tcp.node.ts'
import type { Peer } from './live/peer.ts'
import { isWebSocketRequest } from './live/websocket.node.ts'
import { SCOPES } from './protocol/endpoint.ts'
import { hashSecret, newKey, parseKey } from './protocol/keys.ts'

export type { LogEvent }

export interface ListenOptions {
  /** 0 takes any free port. */
  port: number
  host: string
  /** The bootstrap key. */
  adminKey?: string | undefined
  /** Origins of browser callers. */
  origins?: readonly string[]
  log?: (event: LogEvent) => void
  /** Where live queries also are lines over TCP. */
  liveTcp?: TcpAddress | undefined
  /** So long after its last word a peer of live queries is missed by the others. Default 30 s. */
  peerLeaseMs?: number | undefined
  /** Where other peers of live queries reach this process. Default: as its listener and its host's network say. */
  peerUrl?: string | undefined
}

export interface RunningPlane {
  url: string
  /** `host:port` of live queries over TCP. */
  liveTcp: string | null
  /** The peer of live queries. */
  peer: Peer
  /** Answers what hangs, lets what runs finish, then lets go of the port and the database. */
  close(): Promise<void>
}

/** The net below the alarm, which knows what this process wrote: another may have died with its own. */
const SWEEP_EVERY_MS = 10_000

/** Serves a plane over any Postgres whose schema fits this build; throws SchemaError where it does not. */
export async function startOnPostgres(databaseUrl: string, options: ListenOptions): Promise<RunningPlane> {
  checkAdminKey(options)
  const database = pgSql({ connectionString: databaseUrl })
  try {
    await checkSchema(database.sql)
    return await listen({ ...database, log: threadedLogOf(databaseUrl) }, options, (local, invited) =>
      sharedBell(local, notifyChannel(database), { invited }),
    )
  } catch (error) {
    await database.close()
    throw whereIsIt(databaseUrl, error)
  }
}

/** An error that also names the server that did not answer: the driver's own says no more than ECONNREFUSED. */
function whereIsIt(databaseUrl: string, error: unknown): unknown {
  if (!(error instanceof SqlError) || error.code !== NO_CONNECTION) return error
  const { host } = new URL(databaseUrl)
  return new Error(`no database answers at ${host}: ${error.message}`, { cause: error })
}

/** Before the database is opened, which takes a while. */
function checkAdminKey({ adminKey }: ListenOptions): void {
  if (adminKey !== undefined) bootstrapKey(adminKey)
}

export interface EmbeddedPlane extends RunningPlane {
  /** The key of this folder, with every scope of the namespace `default`. */
  key: string
}

/** Serves a plane over the database in a folder, which it makes, migrates and locks for itself alone. */
export async function startEmbedded(dir: string, options: ListenOptions): Promise<EmbeddedPlane> {
  checkAdminKey(options)
  const { database, key } = await openFolder(dir, { url: `http://${options.host}:${options.port}` })
  try {
    const running = await listen({ ...database, log: ownLog(database.sql) }, options, (local) => local)
    return { ...running, key }
  } catch (error) {
    await database.close()
    throw error
  }
}

/** The embedded database of a folder, migrated, and the folder's key. */
async function openFolder(dir: string, { url }: { url: string }): Promise<{ database: EmbeddedDatabase; key: string }> {
  const key = keyOfFolder(dir)
  const database = await openEmbedded(join(dir, 'db'), { url })
  try {
    await migrate(database.sql, readSchema())
    await keepKey(database.sql, key)
    return { database, key }
  } catch (error) {
    await database.close()
    throw error
  }
}

export interface DatabaseEndpoint {
  /** Where the Neon driver sends its statements, and the connection string that it must be given. */
  url: string
  connectionString: string
  key: string
  close(): Promise<void>
}

/**
 * Neon's SQL over HTTP, on loopback, in front of the folder's embedded database or of a Postgres; with the folder's key,
 * good for either.
 */
export async function startDatabaseEndpoint(
  dir: string,
  { databaseUrl, planeUrl }: { databaseUrl?: string | undefined; planeUrl: string },
): Promise<DatabaseEndpoint> {
  if (databaseUrl === undefined) {
    const { database, key } = await openFolder(dir, { url: planeUrl })
    return { ...(await endpointOver(database.engine, database.close)), key }
  }
  const { sql, close } = pgSql({ connectionString: databaseUrl, max: 1 })
  try {
    const key = keyOfFolder(dir)
    await migrate(sql, readSchema())
    await keepKey(sql, key)
    const pool = new Pool({ connectionString: databaseUrl })
    return { ...(await endpointOver(pool, () => pool.end())), key }
  } finally {
    await close()
  }
}

async function endpointOver(backend: PGlite | Pool, closeBackend: () => Promise<void>) {
  const endpoint = await startNeonEndpoint({ backend })
  const close = async () => {
    await endpoint.close()
    await closeBackend()
  }
  return { url: endpoint.url, connectionString: endpoint.connectionString, close }
}

/** Brings a Postgres to the schema of this build. */
export async function migrateDatabase(databaseUrl: string): Promise<Migrated> {
  const { sql, close } = pgSql({ connectionString: databaseUrl, max: 1 })
  try {
    return await migrate(sql, readSchema())
  } catch (error) {
    throw whereIsIt(databaseUrl, error)
  } finally {
    await close()
  }
}

/** The key in the folder, which the first start makes, for its owner's eyes alone. */
function keyOfFolder(dir: string): string {
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const file = join(dir, 'key')
  // Of two first starts at once, one makes the file, and both read it.
  if (!existsSync(file)) makeKeyFile(file)
  const key = readFileSync(file, 'utf8').trim()
  if (parseKey(key) === null) {
    throw new Error(`${file} does not hold a key: remove it, and the next start makes a new one`)
  }
  chmodSync(file, 0o600)
  return key
}

function makeKeyFile(file: string): void {
  try {
    writeFileSync(file, `${newKey().key}\n`, { mode: 0o600, flag: 'wx' })
  } catch (error) {
    if (!existsSync(file)) throw error
  }
}

/** Puts the hash of the folder's key into a database that does not have it, with every scope of `default`. */
async function keepKey(sql: Sql, key: string): Promise<void> {
  const parts = parseKey(key)
  if (parts === null) throw new Error('not a key')
  await insertKey(sql, {
    id: parts.id,
    namespace: 'default',
    name: 'embedded',
    secretHash: await hashSecret(parts.secret),
    grants: SCOPES.map((scope) => ({ scope })),
  })
}

async function listen(
  { sql, log, close }: { sql: Sql; log: LogSource; close: () => Promise<void> },
  { port, host, ...options }: ListenOptions,
  bellOver: (local: LocalBell, invited: (namespace: string) => void) => LocalBell | SharedBell,
): Promise<RunningPlane> {
  const sweep = () => logged(app.plane, () => maintain(app.plane))
  const told: { peer?: Peer } = {}
  const poke = (): void => told.peer?.poke()
  const local = inProcessBell({ lookEveryMs: Number.POSITIVE_INFINITY, sweep, armed: poke })
  const bell = bellOver(local, (namespace) => told.peer?.join(namespace))
  const invite = 'invite' in bell ? (namespace: string) => bell.invite(namespace) : undefined
  const app = createApp({
    sql: tellingSql(sql, poke),
    bell,
    gather: (run) => void setImmediate(run),
    sha256,
    ...options,
  })
  const listening: { address: string | null } = { address: null }
  const peer = livePeer(app, log, { address: () => listening.address, invite, leaseMs: options.peerLeaseMs })
  told.peer = peer
  app.plane.sweeps.outage.begin()
  const serverOptions = { shouldUpgradeCallback: isWebSocketRequest }
  const server = createAdaptorServer({ fetch: app.fetch, serverOptions }) as Server // of node:http, without createServer
  tuneServer(server)
  const live = await openLive(peer, server, { tcp: options.liveTcp, log: app.plane.log })
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(port, host, resolve)
    })
  } catch (error) {
    await live.close()
    throw error
  }
  const stopSweeping = sweepForEver(app.plane)
  const address = server.address() as AddressInfo // a TCP server that listens has one
  listening.address = options.peerUrl ?? peerAddress({ host, port: address.port })
  let closed: Promise<void> | undefined
  return {
    url: `http://${showAddress({ host, port: address.port })}`,
    liveTcp: live.tcp,
    peer,
    close: () =>
      (closed ??= (async () => {
        await Promise.all([stopSweeping(), closeServer(server, () => bell.close()), live.close()])
        await close()
      })()),
  }
}

const sha256 = (bytes: Uint8Array): Uint8Array => createHash('sha256').update(bytes).digest()

async function logged<T>(plane: Plane, run: () => Promise<T>): Promise<T> {
  try {
    return await run()
  } catch (error) {
    plane.log({ level: 'warn', event: 'sweep_failed', detail: String(error) })
    throw error
  }
}

/** Sweeps on a timer, never two at once. */
function sweepForEver(plane: Plane): () => Promise<void> {
  let running: Promise<void> = Promise.resolve()
  let isRunning = false
  const timer = setInterval(() => {
    if (isRunning) return
    isRunning = true
    running = logged(plane, () => maintainAndArm(plane))
      .catch(() => {}) // The next turn tries again.
      .finally(() => (isRunning = false))
  }, SWEEP_EVERY_MS)
  timer.unref()
  return async () => {
    clearInterval(timer)
    await running
  }
}
