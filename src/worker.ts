// The Cloudflare entry: requests, the cron trigger, and the Durable Object classes. The only file that sees Env.
import { waitUntil } from 'cloudflare:workers'
import { AsyncLocalStorage } from 'node:async_hooks'
import type { DurableObjectNamespace, ExecutionContext, Hyperdrive } from '@cloudflare/workers-types'
import { durableObjectBell, type DurableObjectBell } from './bell/durable-object.workerd.ts'
import { SleepingBell } from './bell/sleeping-bell.workerd.ts'
import { briefSql } from './db/brief.ts'
import { neonSql } from './db/neon.ts'
import { pgSql } from './db/pg.ts'
import type { Sql, SqlParam } from './db/sql.ts'
import { createApp, type App } from './http/app.ts'
import type { LogEvent, Plane } from './http/context.ts'
import { livePeerOptions, recheckKey } from './http/live-peer.ts'
import { maintain, maintainAndArm } from './http/maintenance.ts'
import { tellingSql } from './http/telling-sql.ts'
import { SleepingPeer, type PeerHost } from './live/peer.workerd.ts'
import { SleepingSequencer, type SequencerHost } from './live/sequencer.workerd.ts'
import { OBJECT_MESSAGE_VERSION as v } from './protocol/object-message.ts'

export interface Env {
  BELL: DurableObjectNamespace<BellObject>
  PEER: DurableObjectNamespace<PeerObject>
  SEQUENCER: DurableObjectNamespace<SequencerObject>
  /** Neon's connection string; not needed with HYPERDRIVE. */
  DATABASE_URL?: string
  /** Any Postgres; its query cache must be off. */
  HYPERDRIVE?: Hyperdrive
  CALLPLANE_ADMIN_KEY?: string
  CALLPLANE_ORIGINS?: string
  /** How many objects share the clients of live queries. Default 4. */
  CALLPLANE_PEERS?: string
  /** Where the Neon driver sends its statements in development; unset in production. */
  NEON_FETCH_ENDPOINT?: string
}

/** What wakes waiting polls, and keeps the alarm of the sweep. */
export class BellObject extends SleepingBell<Env> {
  protected override sweep(): Promise<number | null> {
    return withDatabase(this.env, (plane) => maintain(plane))
  }

  protected override async tellArmed(namespace: string, forMs: number): Promise<void> {
    try {
      await this.env.SEQUENCER.getByName(namespace).armed({ v, namespace, forMs })
    } catch (error) {
      // The poke after the commit does the same, unless the writer dies before it.
      log({ level: 'warn', event: 'sequencer_unreached', detail: String(error) })
    }
  }
}

/** What gives the ticks of a namespace that somebody watches. */
export class SequencerObject extends SleepingSequencer<Env> {
  protected override readonly host: SequencerHost = {
    sql: sqlOfObject(this.env),
    peer: (name) => this.env.PEER.getByName(name),
    watch: (namespace, isWatched) => this.env.BELL.getByName(namespace).watch({ v, namespace, isWatched }),
    log,
  }
}

/** Where clients of live queries are connected. */
export class PeerObject extends SleepingPeer<Env> {
  readonly #app = newApp(this.env, sqlOfObject(this.env), durableObjectBell(this.env.BELL))

  protected override readonly host: PeerHost = {
    ...livePeerOptions(this.#app),
    sql: this.#app.plane.sql,
    maxRows: MAX_OBJECT_ROWS,
    sequencer: (namespace) => this.env.SEQUENCER.getByName(namespace),
    recheck: (keyId, namespace) => recheckKey(this.#app, keyId, namespace),
    log,
  }
}

/** What a query may hold in an object: some hundred bytes a row, of the 128 MB that it shares with others. */
const MAX_OBJECT_ROWS = 100_000
const DEFAULT_PEERS = 4

/** A socket to Hyperdrive belongs to the request that opened it: each request has its own, found here. */
const ofRequest = new AsyncLocalStorage<Sql>()

let app: App | null = null

const log = (event: LogEvent): void => console.log(JSON.stringify(event))

function appOf(env: Env): App {
  if (app !== null) return app
  const bell = durableObjectBell(env.BELL, {
    onFailure: ({ isOverloaded, ...failure }) =>
      log({ level: 'error', event: isOverloaded ? 'bell_overloaded' : 'bell_failed', ...failure }),
  })
  const sql = env.HYPERDRIVE === undefined ? neonOf(env) : sqlOfRequest
  return (app = newApp(
    env,
    tellingSql(sql, (params) => pokeWatched(env, bell, params)),
    bell,
  ))
}

function newApp(env: Env, sql: Sql, bell: DurableObjectBell): App {
  return createApp({
    sql,
    bell,
    adminKey: env.CALLPLANE_ADMIN_KEY || undefined,
    origins: (env.CALLPLANE_ORIGINS ?? '')
      .split(',')
      .map((origin) => origin.trim())
      .filter(Boolean),
    log,
  })
}

/** After a commit: tells who gives the ticks of its namespace, if somebody watches it. A sweep is of all namespaces. */
function pokeWatched(env: Env, { watched }: DurableObjectBell, [first]: readonly SqlParam[]): void {
  const concerned = typeof first === 'string' ? [first].filter((namespace) => watched.has(namespace)) : watched
  for (const namespace of concerned) {
    // What it is not told, it finds when the arm runs out.
    waitUntil(
      env.SEQUENCER.getByName(namespace)
        .poke({ v, namespace })
        .catch(() => {}),
    )
  }
}

/** An object holds no connection while nothing happens: it could not sleep. */
function sqlOfObject(env: Env): Sql {
  const { HYPERDRIVE } = env
  if (HYPERDRIVE === undefined) return neonOf(env)
  return briefSql(() => pgSql({ connectionString: HYPERDRIVE.connectionString, max: 2 }))
}

/**
 * Any object serves any namespace: whose the client is, its first frame tells. Who comes back from where it was finds the
 * object that knows what it has been told.
 */
function peerOf(env: Env, request: Request) {
  const peers = Number(env.CALLPLANE_PEERS) || DEFAULT_PEERS
  let hash = 0
  for (const char of request.headers.get('cf-connecting-ip') ?? '') hash = (hash * 31 + char.charCodeAt(0)) >>> 0
  return env.PEER.getByName(`peer-${hash % peers}`)
}

function isLive(request: Request): boolean {
  return request.headers.get('upgrade')?.toLowerCase() === 'websocket' && new URL(request.url).pathname === '/v1/live'
}

function neonOf(env: Env): Sql {
  if (!env.DATABASE_URL) {
    throw new Error(
      'DATABASE_URL is not set: "npx wrangler secret put DATABASE_URL", or bind HYPERDRIVE in wrangler.toml',
    )
  }
  const fetchEndpoint = env.NEON_FETCH_ENDPOINT
  return neonSql(env.DATABASE_URL, fetchEndpoint === undefined ? {} : { fetchEndpoint })
}

const sqlOfRequest: Sql = (text, params) => {
  const sql = ofRequest.getStore()
  if (sql === undefined) throw new Error('a statement outside of a request')
  return sql(text, params)
}

export default {
  async fetch(request: Request, env: Env, ctx: ExecutionContext): Promise<Response> {
    if (isLive(request)) return peerOf(env, request).fetch(request as never) as never // workerd's own, of which the DOM library has others
    const answer = () => appOf(env).fetch(request, env, ctx)
    if (env.HYPERDRIVE === undefined) return answer()
    const database = pgSql({ connectionString: env.HYPERDRIVE.connectionString, max: 5 })
    const response = await ofRequest.run(database.sql, answer)
    // A stream goes on asking the database after its head was answered.
    if (response.body === null) ctx.waitUntil(database.close())
    else {
      const { readable, writable } = new TransformStream()
      ctx.waitUntil(
        response.body
          .pipeTo(writable)
          .catch(() => {})
          .finally(() => database.close()),
      )
      return new Response(readable, response)
    }
    return response
  },

  scheduled(_: unknown, env: Env): Promise<void> {
    return withDatabase(env, maintainAndArm)
  },
}

/** Runs something outside of requests, with a connection of its own where the database is behind Hyperdrive. */
async function withDatabase<T>(env: Env, run: (plane: Plane) => Promise<T>): Promise<T> {
  const { plane } = appOf(env)
  if (env.HYPERDRIVE === undefined) return run(plane)
  const database = pgSql({ connectionString: env.HYPERDRIVE.connectionString, max: 1 })
  try {
    return await ofRequest.run(database.sql, () => run(plane))
  } finally {
    await database.close()
  }
}
