// `npm run check`: all that must hold before a change lands, and the same in CI. With --long, the long suites in full.
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { testTotals, type TestReport } from './test-totals.ts'

interface Step {
  name: string
  command: string
}

const root = fileURLToPath(new URL('../..', import.meta.url))
const scratch = mkdtempSync(join(tmpdir(), 'callplane-check-'))
const reportFile = join(scratch, 'tests.json')
const isLong = process.argv.includes('--long')
process.once('exit', () => rmSync(scratch, { recursive: true, force: true }))

/** They only read, so two run side by side. */
const STATIC: Step[] = [
  { name: 'types', command: 'npm run --silent types' },
  { name: 'lint', command: lintCommand() },
  { name: 'format', command: 'npm run --silent format -- --check' },
  { name: 'unused code', command: 'npm run --silent unused' },
  { name: 'build', command: `npm run --silent deploy -- --dry-run --outdir "${join(scratch, 'worker')}"` },
]
const TESTS: Step = { name: isLong ? 'tests, long' : 'tests', command: 'npm run --silent test' }

const [passed, totals] = await check()
if (totals !== null) console.log(totals)
process.exitCode = passed ? 0 : 1

/** Whether all passed, and the totals of the tests where they ran. */
async function check(): Promise<[boolean, string | null]> {
  if (!(await sideBySide(STATIC))) return [false, null]
  console.log(`${TESTS.name} …`)
  const { exitCode } = await run(TESTS, { isQuiet: false })
  if (!existsSync(reportFile)) return [false, null]
  const report = JSON.parse(readFileSync(reportFile, 'utf8')) as TestReport // vitest wrote it
  return [exitCode === 0, testTotals(report, exitCode)]
}

/** Two at a time; none is started after the first failure. */
async function sideBySide(steps: Step[]): Promise<boolean> {
  const waiting = [...steps]
  let passed = true
  const lane = async (): Promise<void> => {
    for (let step = waiting.shift(); step !== undefined && passed; step = waiting.shift()) {
      const { exitCode } = await run(step, { isQuiet: true })
      if (exitCode !== 0) passed = false
    }
  }
  await Promise.all([lane(), lane()])
  return passed
}

/** Runs a step and prints how it went; the output of a quiet one is shown when it fails. */
async function run({ name, command }: Step, { isQuiet }: { isQuiet: boolean }): Promise<{ exitCode: number }> {
  const startedMs = performance.now()
  const env = {
    ...process.env,
    WRANGLER_SEND_METRICS: 'false',
    CALLPLANE_TEST_JSON: reportFile,
    ...(isLong ? { CALLPLANE_LONG: '1' } : {}),
  }
  const child = spawn(command, {
    cwd: root,
    env,
    shell: true,
    stdio: ['ignore', isQuiet ? 'pipe' : 'inherit', isQuiet ? 'pipe' : 'inherit'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => (output += text))
  }
  const exitCode = await new Promise<number>((resolve) => child.once('close', (code) => resolve(code ?? 1)))
  const seconds = ((performance.now() - startedMs) / 1_000).toFixed(1)
  if (exitCode !== 0 && isQuiet) console.log(output.trimEnd())
  console.log(`${exitCode === 0 ? 'ok    ' : 'FAILED'} ${name}, ${seconds} s`)
  if (exitCode !== 0) console.log(`The check stops at "${name}". To see it alone: ${command}`)
  return { exitCode }
}

/** The rules that need types come from a binary that is not published for every platform; CI has it. */
function lintCommand(): string {
  const binary = join(root, 'node_modules', '@oxlint-tsgolint', `${process.platform}-${process.arch}`)
  return existsSync(binary) ? 'npm run --silent lint' : 'npm exec -- oxlint --deny-warnings'
}
