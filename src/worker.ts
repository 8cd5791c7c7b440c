// The Cloudflare entry: requests, the cron trigger, and the Durable Object classes. The only file that sees Env.
import { AsyncLocalStorage } from 'node:async_hooks'
import type { DurableObjectNamespace, ExecutionContext, Hyperdrive } from '@cloudflare/workers-types'
import { durableObjectBell } from './bell/durable-object.workerd.ts'
import { SleepingBell } from './bell/sleeping-bell.workerd.ts'
import { neonSql } from './db/neon.ts'
import { pgSql } from './db/pg.ts'
import type { Sql } from './db/sql.ts'
import { createApp, type App } from './http/app.ts'
import type { LogEvent, Plane } from './http/context.ts'
import { maintain, maintainAndArm } from './http/maintenance.ts'

export interface Env {
  BELL: DurableObjectNamespace<BellObject>
  /** Neon's connection string; not needed with HYPERDRIVE. */
  DATABASE_URL?: string
  /** Any Postgres; its query cache must be off. */
  HYPERDRIVE?: Hyperdrive
  CALLPLANE_ADMIN_KEY?: string
  CALLPLANE_ORIGINS?: string
  /** Where the Neon driver sends its statements in development; unset in production. */
  NEON_FETCH_ENDPOINT?: string
}

/** What wakes waiting polls, and keeps the alarm of the sweep. */
export class BellObject extends SleepingBell<Env> {
  protected override sweep(): Promise<number | null> {
    return withDatabase(this.env, (plane) => maintain(plane))
  }
}

/** A socket to Hyperdrive belongs to the request that opened it: each request has its own, found here. */
const ofRequest = new AsyncLocalStorage<Sql>()

let app: App | null = null

const log = (event: LogEvent): void => console.log(JSON.stringify(event))

function appOf(env: Env): App {
  app ??= createApp({
    sql: env.HYPERDRIVE === undefined ? neonOf(env) : sqlOfRequest,
    bell: durableObjectBell(env.BELL, {
      onFailure: ({ isOverloaded, ...failure }) =>
        log({ level: 'error', event: isOverloaded ? 'bell_overloaded' : 'bell_failed', ...failure }),
    }),
    adminKey: env.CALLPLANE_ADMIN_KEY || undefined,
    origins: (env.CALLPLANE_ORIGINS ?? '')
      .split(',')
      .map((origin) => origin.trim())
      .filter(Boolean),
    log,
  })
  return app
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
