// A run for people and for programs: a table with a row for each scenario, and one JSON object.
import { arch, cpus, platform, totalmem } from 'node:os'
import type { ScenarioResult } from './scenario.ts'

export interface ChaosReport {
  machine: { cpus: number; cpu: string; memoryGb: number; platform: string; node: string }
  seconds: number
  scenarios: Record<string, ScenarioResult>
  failures: string[]
}

export function reportOf(results: readonly ScenarioResult[], seconds: number): ChaosReport {
  return {
    machine: {
      cpus: cpus().length,
      cpu: cpus()[0]?.model ?? 'unknown',
      memoryGb: Math.round(totalmem() / 2 ** 30),
      platform: `${platform()}-${arch()}`,
      node: process.version,
    },
    seconds: Math.round(seconds),
    scenarios: Object.fromEntries(results.map((result) => [result.name, result])),
    failures: results.flatMap(({ name, failures }) => failures.map((failure) => `${name}: ${failure}`)),
  }
}

const COLUMNS: Record<string, (result: ScenarioResult) => string | number> = {
  scenario: ({ name }) => name,
  calls: ({ calls }) => calls,
  lost: ({ lost }) => lost,
  doubled: ({ doubled }) => doubled,
  stale: ({ stale }) => stale,
  stuck: ({ stuck }) => stuck,
  'over attempts': ({ executionsOverAttempts }) => executionsOverAttempts,
  'fences twice': ({ fencesRepeated }) => fencesRepeated,
  seconds: ({ seconds }) => seconds.toFixed(1),
  '': ({ passed }) => (passed ? 'ok' : 'FAILED'),
  figures: figuresOf,
}

export function figuresOf({ figures }: ScenarioResult): string {
  return Object.entries(figures)
    .map(([name, value]) => `${name} ${value}`)
    .join(', ')
}

export function tableOf(results: readonly ScenarioResult[]): string {
  const rows = [
    Object.keys(COLUMNS),
    ...results.map((result) => Object.values(COLUMNS).map((of) => String(of(result)))),
  ]
  const widths = Object.keys(COLUMNS).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  const isNumber = (column: number) => column > 0 && column < 9
  return rows
    .map((row) =>
      row
        .map((cell, column) =>
          isNumber(column) ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
