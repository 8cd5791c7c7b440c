// One scenario: plays on a stage, and is judged by what all must keep and by lines of its own.
import { check, type Findings } from './checker.ts'
import type { Recorded } from './history.ts'
import { Stage, type StageOptions } from './stage.ts'
import type { Tables } from './tables.ts'

/** Measured in a scenario, by name; what is not a number is left out. */
export type Figures = Record<string, number>

export interface Played {
  history: Recorded[]
  tables: Tables
  findings: Findings
}

export interface Verdict {
  figures: Figures
  /** Sentences: what should have been, and what was. */
  failures: string[]
}

export interface Scenario {
  name: string
  /** What it does, in a line. */
  about: string
  /** Calls below which the whole size proves little. Default 1,000; 0 where nobody calls. */
  leastCalls?: number
  /** Plays, and returns the judge of what is then in the history and the tables. */
  play(stage: Stage): Promise<(played: Played) => Verdict>
}

export interface ScenarioResult {
  name: string
  calls: number
  lost: number
  doubled: number
  stale: number
  stuck: number
  executionsOverAttempts: number
  fencesRepeated: number
  seconds: number
  figures: Figures
  passed: boolean
  failures: string[]
}

/** Never rejects for what goes wrong in a scenario: that is a failure, and the others are still to be played. */
export async function playScenario(scenario: Scenario, options: StageOptions): Promise<ScenarioResult> {
  const startedMs = performance.now()
  const resultOf = (findings: Findings, figures: Figures, failures: string[]): ScenarioResult => ({
    name: scenario.name,
    ...counted(findings),
    seconds: rounded((performance.now() - startedMs) / 1_000),
    figures: Object.fromEntries(Object.entries(figures).map(([name, value]) => [name, rounded(value)])),
    passed: failures.length === 0,
    failures,
  })
  const stage = await Stage.open(options)
  let result: ScenarioResult
  try {
    const judge = await scenario.play(stage)
    const played = await stage.findings()
    const { figures, failures } = judge(played)
    const { accepted } = played.findings
    const { leastCalls = 1_000 } = scenario
    const least = leastCalls === 0 ? 0 : stage.size(leastCalls, 1)
    result = resultOf(played.findings, figures, [
      ...commonFailures(played.findings),
      ...stage.processes.unexpected,
      ...expectThat(accepted >= least, `${accepted} calls were accepted, of at least ${least}`),
      ...failures,
    ])
  } catch (error) {
    const why = error instanceof Error ? (error.stack ?? error.message) : String(error)
    result = resultOf(check([], { jobs: [], attempts: [] }), {}, [
      `it broke off: ${why}`,
      ...stage.processes.unexpected,
    ])
    // It may have left the server down.
    await options.postgres.kill()
    await options.postgres.start()
  }
  if (!result.passed) options.say(`the history is in ${stage.history.file}`)
  await stage.close({ keep: !result.passed })
  return result
}

function counted({ accepted, ...found }: Findings) {
  return {
    calls: accepted,
    lost: found.lost.length,
    doubled: found.doubled.length,
    stale: found.stale.length,
    stuck: found.stuck.length,
    executionsOverAttempts: found.executionsOverAttempts.length,
    fencesRepeated: found.fencesRepeated.length,
  }
}

/** Of each kind the first few: thousands would say no more. */
function commonFailures({ accepted: _, ...found }: Findings): string[] {
  return Object.entries(found).flatMap(([kind, sentences]) => {
    if (sentences.length === 0) return []
    return [`${sentences.length} ${kind}: ${sentences.slice(0, 3).join('; ')}`]
  })
}

const rounded = (value: number): number => Math.round(value * 100) / 100

/** A failure where the figure is not as it must be. */
export function expectThat(isTrue: boolean, sentence: string): string[] {
  return isTrue ? [] : [sentence]
}
