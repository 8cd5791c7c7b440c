// What a scenario plays on: a database of its own, planes, runners and callers as processes, and the history of them all.
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { tmpdir } from 'node:os'
import { insertKey } from '../../src/db/keys.ts'
import { migrate } from '../../src/db/migrate.ts'
import { readSchema } from '../../src/db/migrations.node.ts'
import { pgSql, type PgDatabase } from '../../src/db/pg.ts'
import { withRetry } from '../../src/db/sql.ts'
import type { Sql } from '../../src/db/sql.ts'
import { SCOPES } from '../../src/protocol/endpoint.ts'
import { hashSecret, newKey } from '../../src/protocol/keys.ts'
import { COMPILED } from '../support/compiled.ts'
import { createDatabase, dropDatabase, type TestPostgres } from '../support/postgres.ts'
import { Caller } from './caller.ts'
import { check, type Findings } from './checker.ts'
import { freePort } from '../support/free-port.ts'
import { History, type Recorded } from './history.ts'
import { Processes, ROOT, type Started } from './processes.ts'
import { countOpen, readTables, type Tables } from './tables.ts'
import type { WorkPolicy } from './work.ts'

export interface Tenant {
  namespace: string
  key: string
}

export interface Plane {
  url: string
  process: Started
}

export interface StageOptions {
  postgres: TestPostgres
  /** 1 plays the whole; less plays as much smaller. */
  scale: number
  say: (line: string) => void
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

export class Stage {
  readonly postgres: TestPostgres
  readonly say: (line: string) => void
  readonly processes: Processes = new Processes()
  readonly history: History
  readonly databaseUrl: string
  readonly tenant: Tenant
  readonly #database: PgDatabase
  readonly #folder: string
  readonly #scale: number
  readonly #callers: Caller[] = []
  #calls = 0
  #runners = 0

  private constructor(
    options: StageOptions,
    folder: string,
    databaseUrl: string,
    database: PgDatabase,
    tenant: Tenant,
  ) {
    this.postgres = options.postgres
    this.say = options.say
    this.#scale = options.scale
    this.#folder = folder
    this.databaseUrl = databaseUrl
    this.#database = database
    this.tenant = tenant
    this.history = new History(join(folder, 'history.jsonl'))
  }

  static async open(options: StageOptions): Promise<Stage> {
    const databaseUrl = await createDatabase(options.postgres.url)
    const { sql, ...rest } = pgSql({ connectionString: databaseUrl, max: 2 })
    const database = { ...rest, sql: withRetry(sql) }
    await migrate(database.sql, readSchema())
    const tenant = await newTenant(database.sql, 'tenant_a')
    return new Stage(options, mkdtempSync(join(tmpdir(), 'callplane-chaos-')), databaseUrl, database, tenant)
  }

  get sql(): Sql {
    return this.#database.sql
  }

  /** So many of something, at this scale. */
  size(whole: number, least: number): number {
    return Math.max(least, Math.round(whole * this.#scale))
  }

  nextCall(): number {
    return ++this.#calls
  }

  newTenant(namespace: string): Promise<Tenant> {
    return newTenant(this.sql, namespace)
  }

  /** `port`: where one that was killed has listened. `databaseUrl`: another way to the database. */
  async startPlane({ port, databaseUrl }: { port?: string; databaseUrl?: string } = {}): Promise<Plane> {
    const args = ['serve', '--host', '127.0.0.1', '--port', port ?? (await freePort())]
    const env = { ...COMPILED, DATABASE_URL: databaseUrl ?? this.databaseUrl }
    const process = this.processes.start('a plane', join(ROOT, 'src/cli/main.ts'), args, { env })
    const [, url = ''] = await process.says(/"listening","url":"([^"]+)"/)
    return { url, process }
  }

  /** Resolves at once; `says(/serving/)` tells when it serves. */
  startRunner(
    url: string,
    { slots, mayEnd = [], tenant = this.tenant, ...policy }: WorkPolicy & RunnerOptions,
  ): Started {
    const name = `runner ${++this.#runners}`
    const args = [this.history.file, tenant.namespace, JSON.stringify(policy), String(slots)]
    const env = { ...COMPILED, CALLPLANE_URL: url, CALLPLANE_KEY: tenant.key }
    return this.processes.start(name, join(ROOT, 'test/chaos/runner.ts'), args, { env, mayEnd })
  }

  caller(url: string, tenant: Tenant = this.tenant): Caller {
    const caller = new Caller(this, url, tenant.key)
    this.#callers.push(caller)
    return caller
  }

  fault(what: string): void {
    this.history.write({ kind: 'fault', what })
  }

  /** A counter of one plane, over all of its labels. */
  async counter(url: string, name: string): Promise<number> {
    const answer = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${this.tenant.key}` } })
    const lines = (await answer.text()).split('\n').filter((line) => line.startsWith(name))
    return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
  }

  /** Resolves when every caller has its answer and every job has ended, or the time is over: the checker tells which. */
  async settled(withinMs: number): Promise<void> {
    const untilMs = performance.now() + withinMs
    while (performance.now() < untilMs) {
      const waiting = this.#callers.reduce((sum, caller) => sum + caller.waiting, 0)
      if (waiting === 0 && (await countOpen(this.sql).catch(() => 1)) === 0) return
      await pause(100)
    }
  }

  async findings(): Promise<{ findings: Findings; history: Recorded[]; tables: Tables }> {
    const tables = await readTables(this.sql)
    const history = this.history.read()
    return { findings: check(history, tables), history, tables }
  }

  /** `keep`: the history stays, for whoever asks why. */
  async close({ keep }: { keep: boolean }): Promise<void> {
    await this.processes.close()
    await Promise.all(this.#callers.map((caller) => caller.close()))
    await this.#database.close()
    await dropDatabase(this.postgres.url, this.databaseUrl)
    this.history.close()
    if (!keep) rmSync(this.#folder, { recursive: true, force: true })
  }
}

export interface RunnerOptions {
  slots: number
  tenant?: Tenant
  /** Exit codes that are no finding. */
  mayEnd?: number[]
}

async function newTenant(sql: Sql, namespace: string): Promise<Tenant> {
  const { id, secret, key } = newKey()
  const grants = SCOPES.map((scope) => ({ scope }))
  await insertKey(sql, { id, namespace, name: null, secretHash: await hashSecret(secret), grants })
  return { namespace, key }
}
