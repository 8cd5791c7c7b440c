// `npm run chaos`: breaks real processes, a real Postgres and the ways between them, and checks that every promise held.
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { startPostgres } from '../support/postgres.ts'
import { figuresOf, reportOf, tableOf } from './report.ts'
import { playScenario, type ScenarioResult } from './scenario.ts'
import { SCENARIOS } from './scenarios.ts'

const HELP = `Usage: npm run chaos -- [--only a,b] [--json FILE] [--scale 0.1]

${SCENARIOS.map(({ name, about }) => `  ${name.padEnd(18)} ${about}`).join('\n')}

--scale plays everything smaller. Exits with 1 if a promise was broken.`

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    json: { type: 'string' },
    scale: { type: 'string', default: '1' },
    help: { type: 'boolean', default: false },
  },
})
const wanted = values.only?.split(',')
const unknown = wanted?.filter((name) => SCENARIOS.every((scenario) => scenario.name !== name)) ?? []
const scale = Number(values.scale)

if (values.help) console.log(HELP)
else if (unknown.length > 0 || !(scale > 0 && scale <= 1)) {
  console.error(unknown.length > 0 ? `there is no scenario ${unknown.join(', ')}\n\n${HELP}` : HELP)
  process.exitCode = 2
} else {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))
  await run()
}

async function run(): Promise<void> {
  const startedMs = performance.now()
  const elapsed = () => (performance.now() - startedMs) / 1_000
  const results: ScenarioResult[] = []
  const postgres = await startPostgres()
  try {
    for (const scenario of SCENARIOS.filter(({ name }) => wanted?.includes(name) ?? true)) {
      const say = (line: string) => console.log(`${elapsed().toFixed(0).padStart(4)} s  ${scenario.name}: ${line}`)
      say(scenario.about)
      const result = await playScenario(scenario, { postgres, scale, say })
      for (const failure of result.failures) say(`FAILED: ${failure}`)
      say(`${result.passed ? 'ok' : 'FAILED'} in ${result.seconds} s, ${result.calls} calls: ${figuresOf(result)}`)
      results.push(result)
    }
  } finally {
    await postgres.stop()
  }
  const report = reportOf(results, elapsed())
  console.log(`\n${tableOf(results)}\n`)
  for (const failure of report.failures) console.log(`FAILED ${failure}`)
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(report, null, 2)}\n`)
  process.exitCode = report.failures.length === 0 ? 0 : 1
}
