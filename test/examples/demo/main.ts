// The demo: two runner processes, and a client that sends them every source file of this repository and checks each answer.
import { fork, type ChildProcess } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { Callplane } from 'callplane'
import type { files } from './service.ts'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))
const RUNNERS = 2

async function main(): Promise<void> {
  const url = process.env['CALLPLANE_URL'] || 'http://127.0.0.1:8787'
  await assertAnswers(url)
  const key = keyOf(process.env['CALLPLANE_DIR'] || '.callplane')
  console.log(`Callplane demo against ${url}\n`)
  const runners = await startRunners({ ...process.env, CALLPLANE_URL: url, CALLPLANE_KEY: key })
  const plane = new Callplane({ url, key })
  try {
    const client = clientOf(plane)
    await packEverything(client)
    await showAnError(client)
  } finally {
    await plane.close()
    await stopRunners(runners)
  }
}

const clientOf = (plane: Callplane) => plane.client<typeof files>('demo.files')
type Files = ReturnType<typeof clientOf>

interface Packed {
  path: string
  bytes: number
  packed: number
  roundTripMs: number
  runner: number
}

async function packEverything(client: Files): Promise<void> {
  const paths = globSync(['src/**/*.ts', 'test/**/*.ts', 'docs/*.md', '*.{md,sql,toml,json}'], { cwd: ROOT }).toSorted()
  const startedAt = performance.now()
  let done = 0
  const packed: Packed[] = await Promise.all(
    paths.map(async (path) => {
      const bytes = readFileSync(join(ROOT, path))
      const sentAt = performance.now()
      const answer = await client.pack(bytes)
      const roundTripMs = performance.now() - sentAt
      if (answer.sha256 !== createHash('sha256').update(bytes).digest('hex')) throw new Error(`${path}: another hash`)
      if (!gunzipSync(answer.packed).equals(bytes)) throw new Error(`${path}: other bytes after unpacking`)
      progress(++done, paths.length)
      return { path, bytes: bytes.length, packed: answer.packed.length, roundTripMs, runner: answer.runner }
    }),
  )
  printTable(packed, performance.now() - startedAt)
}

function progress(done: number, all: number): void {
  if (!process.stdout.isTTY) return
  const width = 40
  const filled = Math.round((done / all) * width)
  process.stdout.write(
    `\r  ${'█'.repeat(filled)}${'░'.repeat(width - filled)} ${done}/${all} files${done === all ? '\n\n' : ''}`,
  )
}

const LARGEST = 12

function printTable(rows: Packed[], ms: number): void {
  const line = (path: string, bytes: string, packed: string, time: string, runner: string) =>
    console.log(
      `  ${path.padEnd(44)}${bytes.padStart(9)}${packed.padStart(9)}${time.padStart(10)}${runner.padStart(9)}`,
    )
  line('file', 'bytes', 'packed', 'ms', 'runner')
  for (const row of rows.toSorted((a, b) => b.bytes - a.bytes).slice(0, LARGEST)) {
    line(row.path.slice(-43), String(row.bytes), String(row.packed), row.roundTripMs.toFixed(1), String(row.runner))
  }
  if (rows.length > LARGEST) console.log(`  … and ${rows.length - LARGEST} smaller files`)
  const sum = (of: (row: Packed) => number) => rows.reduce((total, row) => total + of(row), 0)
  console.log(
    `\n  ${rows.length} files, ${sum((row) => row.bytes)} bytes to ${sum((row) => row.packed)}, each answer verified,` +
      ` in ${(ms / 1_000).toFixed(2)} s (${Math.round(rows.length / (ms / 1_000))} calls/s)`,
  )
  for (const [runner, of] of Map.groupBy(rows, (row) => row.runner))
    console.log(`  runner ${runner} packed ${of.length}`)
}

async function showAnError(client: Files): Promise<void> {
  console.log('\n  And a function that throws an error of its own, as it arrives:\n')
  try {
    await client.read('/etc/motd')
  } catch (error) {
    console.error(error)
    if (!(error instanceof Error) || !(error.cause instanceof TypeError))
      throw new Error('the cause was lost', { cause: error })
    return
  }
  throw new Error('the function should have thrown')
}

async function startRunners(env: NodeJS.ProcessEnv): Promise<ChildProcess[]> {
  // CALLPLANE_RUNNER_URL lets the runners speak to another process of the same plane.
  const runnerEnv = { ...env, CALLPLANE_URL: env['CALLPLANE_RUNNER_URL'] || env['CALLPLANE_URL'] }
  const runners = Array.from({ length: RUNNERS }, () =>
    fork(join(import.meta.dirname, 'runner.ts'), { env: runnerEnv }),
  )
  await Promise.all(
    runners.map((runner) =>
      Promise.race([
        once(runner, 'message'),
        once(runner, 'exit').then(() => {
          throw new Error('a runner ended before it was ready; its own lines above say why')
        }),
      ]),
    ),
  )
  return runners
}

async function stopRunners(runners: ChildProcess[]): Promise<void> {
  const running = runners.filter((runner) => runner.exitCode === null && runner.signalCode === null)
  const exits = running.map((runner) => once(runner, 'exit'))
  for (const runner of running) runner.kill('SIGTERM')
  await Promise.all(exits)
}

async function assertAnswers(url: string): Promise<void> {
  const response = await fetch(new URL('/health', url)).catch(() => null)
  if (!response?.ok)
    throw new Error(`no plane answers at ${url}: run "npm start" in another terminal, or set CALLPLANE_URL`)
}

function keyOf(dir: string): string {
  const key = process.env['CALLPLANE_KEY']
  if (key) return key
  const file = join(dir, 'key')
  if (!existsSync(file)) throw new Error(`no key: run "npm start" first, or set CALLPLANE_KEY (there is no ${file})`)
  return readFileSync(file, 'utf8').trim()
}

try {
  await main()
} catch (error) {
  console.error(`\ndemo: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 1
}
