// The processes of a benchmark: a Postgres, a plane, runners and callers, each of its own, and what they use of the machine.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const CLI = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url))

export interface Child {
  pid: number
  stop(signal?: NodeJS.Signals): Promise<void>
}

const running = new Set<ChildProcess>()
process.once('exit', () => running.forEach((child) => child.kill('SIGKILL')))

/** Starts a script; resolves with the first line of its output that matches. */
export async function start(
  script: string,
  {
    args = [],
    env = {},
    ready,
    flags = [],
  }: { args?: string[]; env?: Record<string, string>; ready: RegExp; flags?: string[] },
): Promise<Child & { line: string }> {
  const child = spawn(process.execPath, [...flags, script, ...args], {
    env: { ...process.env, ...env, NO_COLOR: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  running.add(child)
  const exited = once(child, 'exit').then(() => running.delete(child))
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  let tail = ''
  for (const stream of [child.stdout, child.stderr]) {
    createInterface(stream).on('line', (line) => {
      tail = `${tail}${line}\n`.slice(-2_000)
      if (ready.test(line)) resolve(line)
    })
  }
  void exited.then(() => reject(new Error(`${script} ended before it was ready:\n${tail}`)))
  const line = await promise
  return {
    line,
    pid: child.pid ?? 0,
    async stop(signal = 'SIGTERM') {
      child.kill(signal)
      await exited
    },
  }
}

/** As its first line says that it is started: Node, with these flags. */
const [, ...CLI_FLAGS] = readFileSync(CLI, 'utf8').split('\n', 1)[0]?.split('env -S ')[1]?.split(' ') ?? []

export const startCli = (
  args: string[],
  env: Record<string, string>,
  ready: RegExp,
  flags: string[] = [],
): Promise<Child & { line: string }> => start(CLI, { args, env, ready, flags: [...CLI_FLAGS, ...flags] })

/** CPU time in milliseconds of processes and all their descendants so far. */
export function cpuMs(pids: readonly number[]): number {
  const parents = new Map<number, { parent: number; ticks: number }>()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8')
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      parents.set(Number(name), { parent: Number(fields[1]), ticks: Number(fields[11]) + Number(fields[12]) })
    } catch {
      // It has just ended.
    }
  }
  const isOurs = (pid: number): boolean => {
    for (let at = pid; at > 1; at = parents.get(at)?.parent ?? 0) if (pids.includes(at)) return true
    return false
  }
  let ticks = 0
  for (const [pid, stat] of parents) if (isOurs(pid)) ticks += stat.ticks
  return ticks * 10 // a hundred ticks a second, on every Linux
}

/** Resident memory of a process in MB. */
export function rssMb(pid: number): number {
  const kb = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  return Math.round(Number(kb) / 1_024)
}
