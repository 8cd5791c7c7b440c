// A fresh plane for a test: the real app on the embedded Postgres, in a namespace and with keys of its own.
import { beforeAll } from 'vitest'
import { inProcessBell } from '../../src/bell/in-process.ts'
import { insertKey } from '../../src/db/keys.ts'
import { migrate } from '../../src/db/migrate.ts'
import { readSchema } from '../../src/db/migrations.node.ts'
import type { Sql } from '../../src/db/sql.ts'
import { createApp, type App, type AppOptions } from '../../src/http/app.ts'
import type { LogEvent } from '../../src/http/context.ts'
import { SCOPES } from '../../src/protocol/endpoint.ts'
import { hashSecret, newKey, type Grant } from '../../src/protocol/keys.ts'
import { freshEmbedded } from './fresh-embedded.ts'

export interface TestPlane {
  app: App
  sql: Sql
  namespace: string
  /** A key with every scope of the namespace. */
  key: string
  /** The SDK's options for this plane. */
  options: { url: string; key: string; fetch: typeof fetch }
  /** Statements that the app has run since the last `statements()`. */
  statements(): string[]
  logged: LogEvent[]
  newKey(grants?: Grant[], namespace?: string): Promise<string>
}

let shared: Promise<Sql> | undefined

/** The embedded database of this test process, migrated once: tests keep apart by their namespaces. */
export function embeddedSql(): Promise<Sql> {
  shared ??= freshEmbedded().then(async ({ sql }) => {
    await migrate(sql, readSchema())
    return sql
  })
  return shared
}

// Booting Postgres in WebAssembly takes seconds, which are no test's own.
beforeAll(async () => {
  await embeddedSql()
}, 60_000)

let count = 0

export async function setup(options: Partial<AppOptions> = {}): Promise<TestPlane> {
  const sql = options.sql ?? (await embeddedSql())
  const namespace = `test_${process.pid}_${count++}`
  const run: string[] = []
  const logged: LogEvent[] = []
  const counted: Sql = (text, params) => {
    run.push(text)
    return sql(text, params)
  }
  const app = createApp({
    bell: inProcessBell({ lookEveryMs: Number.POSITIVE_INFINITY }),
    log: (event) => logged.push(event),
    ...options,
    sql: counted,
  })
  const makeKey = async (grants: Grant[] = SCOPES.map((scope) => ({ scope })), of = namespace) => {
    const { id, secret, key } = newKey()
    const stored = grants.map(({ scope, services }) => (services === undefined ? { scope } : { scope, services }))
    await insertKey(sql, { id, namespace: of, name: null, secretHash: await hashSecret(secret), grants: stored })
    return key
  }
  const key = await makeKey()
  return {
    app,
    sql,
    namespace,
    key,
    options: { url: 'http://plane.test', key, fetch: async (input, init) => app.fetch(new Request(input, init)) },
    statements: () => run.splice(0),
    logged,
    newKey: makeKey,
  }
}
