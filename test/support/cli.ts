// Running the command line as users do: its processes, what they print, and their ends. None outlives the test.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'
import { COMPILED } from './compiled.ts'

export { freePort } from './free-port.ts'

export const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const CLI = join(ROOT, 'src/cli/main.ts')

export interface Running {
  process: ChildProcess
  /** All that it has printed, on both streams. */
  output(): string
  /** Resolves once the output matches; rejects when the process ends before. */
  prints(pattern: RegExp): Promise<RegExpExecArray>
  exit: Promise<{ code: number | null; output: string }>
  stop(signal?: NodeJS.Signals): Promise<{ code: number | null; output: string }>
}

/** Runs a script of ours under this Node, with these variables and no others of ours. */
export function run(script: string, args: string[], env: Record<string, string> = {}): Running {
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^(CALLPLANE_|DATABASE_URL$|PORT$|NODE_OPTIONS$)/.test(name),
  )
  const child = spawn(process.execPath, [script, ...args], {
    cwd: ROOT,
    env: { ...Object.fromEntries(inherited), ...COMPILED, ...env, NO_COLOR: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  let check = () => {}
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk
      check()
    })
  }
  const exit = once(child, 'close').then(([code]: (number | null)[]) => ({ code: code ?? null, output }))
  const running: Running = {
    process: child,
    output: () => output,
    exit,
    async prints(pattern) {
      const { promise, resolve, reject } = Promise.withResolvers<RegExpExecArray>()
      check = () => {
        const match = pattern.exec(output)
        if (match !== null) resolve(match)
      }
      check()
      void exit.then(({ code }) => reject(new Error(`ended with ${code} before it printed ${pattern}:\n${output}`)))
      return promise
    },
    async stop(signal = 'SIGTERM') {
      if (child.exitCode === null && child.signalCode === null) child.kill(signal)
      return exit
    },
  }
  onTestFinished(async () => {
    await running.stop('SIGKILL')
  })
  return running
}

export const callplane = (args: string[], env: Record<string, string> = {}): Running => run(CLI, args, env)

/** A folder that goes with the test. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'callplane-test-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }))
  return folder
}
