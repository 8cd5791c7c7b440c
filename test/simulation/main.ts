// `node test/simulation/main.ts [--seeds N] [--seed S] [--calls N] [--plant NAME] [--trace]`: runs worlds, one a seed from S
// on, and stops at the first violation.
import { parseArgs } from 'node:util'
import { plantInSource } from './plants.ts'

const { values } = parseArgs({
  options: {
    seeds: { type: 'string' },
    seed: { type: 'string' },
    calls: { type: 'string', default: '1000' },
    plant: { type: 'string' },
    trace: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
})

const calls = Number(values.calls)
const first = Number(values.seed ?? 1)
const count = Number(values.seeds ?? (values.seed === undefined ? 100 : 1))
// Before the code is loaded that it changes.
const plants = plantInSource(values.plant)
const { runSeed } = await import('./run.ts')

// Most errors of these worlds are simulated: where they were made says nothing, and costs a tenth of the time.
Error.stackTraceLimit = values.trace ? 10 : 0

const startedAtMs = performance.now()
const total = { seeds: 0, calls: 0, statements: 0, events: 0, violations: 0 }
let toldAtMs = startedAtMs
let isBroken = false
for (let seed = first; seed < first + count && !isBroken; seed++) {
  const result = await runSeed({ seed, calls, plants, isTraced: values.trace })
  total.seeds++
  total.calls += result.calls
  total.statements += result.statements
  total.events += result.events
  if (values.trace) for (const line of result.lines) console.log(line)
  if (count === 1) console.log(`seed ${seed}: ${result.scenario.kind}, fingerprint ${result.fingerprint}`)
  if (result.violation !== null) {
    isBroken = true
    total.violations++
    if (!values.json) await show(seed, result.violation.message)
  }
  if (performance.now() - toldAtMs > 10_000) {
    toldAtMs = performance.now()
    if (!values.json) console.error(`${total.seeds} seeds, ${total.calls} calls, no violation so far`)
  }
}
const seconds = (performance.now() - startedAtMs) / 1_000
const { user, system } = process.cpuUsage()
const cpuSeconds = (user + system) / 1_000_000
const summary = {
  ...total,
  seconds: Number(seconds.toFixed(1)),
  callsPerSecond: Math.round(total.calls / seconds),
  callsPerCpuSecond: Math.round(total.calls / cpuSeconds),
}
console.log(
  values.json
    ? JSON.stringify(summary)
    : `seeds ${summary.seeds} · calls ${summary.calls} · violations ${summary.violations} · ` +
        `${summary.seconds} s · ${summary.callsPerSecond} calls/s (${summary.callsPerCpuSecond} in a second of CPU) · ${summary.statements} statements · ${summary.events} events`,
)
process.exitCode = isBroken ? 1 : 0

/** The same seed once more, with its history. */
async function show(seed: number, message: string): Promise<void> {
  const { lines } = values.trace ? { lines: [] } : await runSeed({ seed, calls, plants, isTraced: true })
  for (const line of lines) console.log(line)
  console.log(`VIOLATION with seed ${seed}: ${message}`)
  const plant = values.plant === undefined ? '' : ` --plant ${values.plant}`
  console.log(`replay: node test/simulation/main.ts --seed ${seed} --calls ${calls}${plant} --trace`)
}
