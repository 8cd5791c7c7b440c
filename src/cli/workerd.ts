// The Worker on this machine: wrangler runs it in workerd, and its unmodified Neon driver talks to our own endpoint.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startDatabaseEndpoint } from '../node.ts'

export interface WorkerdOptions {
  port: number
  host: string
  origins: readonly string[]
  adminKey: string | undefined
  /** A Postgres to work on; without it, the embedded database of the folder. */
  databaseUrl: string | undefined
}

export interface RunningWorkerd {
  url: string
  key: string
  /** Resolves when wrangler ends, whoever ended it. */
  exited: Promise<void>
  close(): Promise<void>
}

/** Cron triggers never fire by themselves here. */
const CRON_EVERY_MS = 60_000
const READY_WITHIN_MS = 60_000
const CONFIG = fileURLToPath(new URL('../../wrangler.toml', import.meta.url))

/** Serves the Worker from workerd; resolves once it answers. */
export async function startWorkerd(dir: string, options: WorkerdOptions): Promise<RunningWorkerd> {
  const url = `http://${options.host}:${options.port}`
  const endpoint = await startDatabaseEndpoint(dir, { databaseUrl: options.databaseUrl, planeUrl: url })
  // Variables in a file for this user alone: on a command line every process could read them.
  const secrets = mkdtempSync(join(tmpdir(), 'callplane-'))
  const wrangler = startWrangler(dir, secrets, options, {
    DATABASE_URL: endpoint.connectionString,
    NEON_FETCH_ENDPOINT: endpoint.url,
    CALLPLANE_ADMIN_KEY: options.adminKey ?? '',
    CALLPLANE_ORIGINS: options.origins.join(','),
  })
  const exited = once(wrangler, 'exit').then(() => {})
  const cron = setInterval(() => fetch(`${url}/cdn-cgi/handler/scheduled`).catch(() => {}), CRON_EVERY_MS)
  const close = async () => {
    clearInterval(cron)
    wrangler.kill('SIGTERM')
    await exited
    rmSync(secrets, { recursive: true, force: true })
    await endpoint.close()
  }
  try {
    await Promise.race([
      isReady(url),
      exited.then(() => {
        throw new Error('wrangler ended before the Worker answered; its own lines above say why')
      }),
    ])
  } catch (error) {
    await close()
    throw error
  }
  return { url, key: endpoint.key, exited, close }
}

function startWrangler(
  dir: string,
  secrets: string,
  { port, host }: WorkerdOptions,
  variables: Record<string, string>,
): ChildProcess {
  const file = join(secrets, 'env')
  const lines = Object.entries(variables).map(([name, value]) => `${name}=${JSON.stringify(value)}\n`)
  writeFileSync(file, lines.join(''), { mode: 0o600 })
  const args = ['dev', '--config', CONFIG, '--env-file', file, '--persist-to', join(dir, 'workerd')]
  const quiet = ['--ip', host, '--port', String(port), '--log-level', 'error', '--show-interactive-dev-session=false']
  return spawn(process.execPath, [wranglerScript(), ...args, ...quiet], {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, WRANGLER_SEND_METRICS: 'false', NO_COLOR: '1' },
  })
}

function wranglerScript(): string {
  try {
    const packageFile = createRequire(import.meta.url).resolve('wrangler/package.json')
    return join(packageFile, '..', 'bin', 'wrangler.js')
  } catch {
    throw new Error('wrangler is not installed: --workerd works in a checkout of Callplane, after npm ci')
  }
}

async function isReady(url: string): Promise<void> {
  const giveUpAt = performance.now() + READY_WITHIN_MS
  while (performance.now() < giveUpAt) {
    const response = await fetch(`${url}/ready`).catch(() => null)
    if (response?.ok) return
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  throw new Error(`the Worker does not answer at ${url}/ready`)
}
