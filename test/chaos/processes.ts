// The processes of a run. One that ends without having been told to is a finding; none outlives the run.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

export const ROOT: string = fileURLToPath(new URL('../../', import.meta.url))

/** The end of what a process printed is enough to tell why it ended. */
const KEPT_CHARS = 4_000

export class Started {
  readonly name: string
  readonly process: ChildProcess
  readonly exited: Promise<void>
  /** Somebody told it to end. */
  isDoomed = false
  #output = ''
  #check: () => void = () => {}

  constructor(name: string, child: ChildProcess) {
    this.name = name
    this.process = child
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#output = (this.#output + text).slice(-KEPT_CHARS)
        this.#check()
      })
    }
    this.exited = once(child, 'exit').then(() => {})
  }

  get hasEnded(): boolean {
    return this.process.exitCode !== null || this.process.signalCode !== null
  }

  get output(): string {
    return this.#output
  }

  /** Resolves with the match once it is printed; rejects when the process ends before. */
  async says(pattern: RegExp): Promise<RegExpExecArray> {
    const { promise, resolve, reject } = Promise.withResolvers<RegExpExecArray>()
    this.#check = () => {
      const match = pattern.exec(this.#output)
      if (match !== null) resolve(match)
    }
    this.#check()
    void this.exited.then(() => reject(new Error(`${this.name} ended before it said ${pattern}:\n${this.#output}`)))
    return promise
  }

  /** Resolves once it has ended. */
  async end(signal: NodeJS.Signals): Promise<void> {
    this.isDoomed = true
    if (!this.hasEnded) this.process.kill(signal)
    await this.exited
  }
}

export class Processes {
  readonly #all = new Set<Started>()
  readonly #killAll = () => {
    for (const { process: child } of this.#all) child.kill('SIGKILL')
  }
  /** Sentences on those that ended by themselves. */
  readonly unexpected: string[] = []

  constructor() {
    process.once('exit', this.#killAll)
  }

  /**
   * Runs a script under this Node, with these variables and no others of ours. `mayEnd`: exit codes that are no finding.
   * `hasChannel`: messages can be sent to it, and come from it.
   */
  start(
    name: string,
    script: string,
    args: string[],
    { env, mayEnd = [], hasChannel = false }: { env: Record<string, string>; mayEnd?: number[]; hasChannel?: boolean },
  ): Started {
    const ours = /^(CALLPLANE_|DATABASE_URL$|PORT$|NODE_OPTIONS$)/
    const inherited = Object.entries(process.env).filter(([variable]) => !ours.test(variable))
    const child = spawn(process.execPath, [script, ...args], {
      cwd: ROOT,
      env: { ...Object.fromEntries(inherited), ...env, NO_COLOR: '1' },
      stdio: hasChannel ? ['pipe', 'pipe', 'pipe', 'ipc'] : ['pipe', 'pipe', 'pipe'],
    })
    // It may be gone when we close its stdin.
    child.stdin?.on('error', () => {})
    const started = new Started(name, child)
    this.#all.add(started)
    void started.exited.then(() => {
      this.#all.delete(started)
      if (started.isDoomed || mayEnd.includes(child.exitCode ?? -1)) return
      const how = child.signalCode ?? `code ${child.exitCode}`
      this.unexpected.push(`${name} ended by itself with ${how}: ${started.output.trim().slice(-500)}`)
    })
    return started
  }

  async close(): Promise<void> {
    await Promise.all([...this.#all].map((one) => one.end('SIGKILL')))
    process.removeListener('exit', this.#killAll)
  }
}
