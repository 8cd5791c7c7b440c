// A part of `npm run chaos` that every check has time for; the whole of it where the long suites run.
import { rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { playScenario, type Scenario } from '../chaos/scenario.ts'
import { SCENARIOS } from '../chaos/scenarios.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'

/** Which part of its whole size each is played at; the others are left to the long run. */
const BOUNDED: Record<string, number> = {
  'kill-runners': 0.06,
  freeze: 0.03,
  'lost-answers': 0.06,
  races: 0.03,
  poison: 0.05,
}

/** And where the long suites run, which have an hour in all. */
const BOUNDED_LONG: Record<string, number> = { live: 0.1 }

const isLong = process.env['CALLPLANE_LONG'] === '1'
const played = SCENARIOS.filter(({ name }) => isLong || name in BOUNDED)

let postgres: TestPostgres

beforeAll(async () => {
  postgres = await startPostgres()
})

afterAll(() => postgres.stop())

test('every scenario that is bounded exists', () => {
  const names = Object.keys({ ...BOUNDED, ...BOUNDED_LONG })
  expect(names.filter((name) => SCENARIOS.every((scenario) => scenario.name !== name))).toEqual([])
})

test('a scenario that breaks off, and one whose process ends by itself, are failures', async () => {
  const scenario: Scenario = {
    name: 'broken',
    about: 'leaves the server down',
    leastCalls: 0,
    async play(stage) {
      await stage.processes.start('a bystander', 'test/support/short-lived.ts', [], { env: {} }).exited
      await stage.postgres.kill()
      throw new Error('no more')
    },
  }
  const said: string[] = []
  const { passed, failures } = await playScenario(scenario, { postgres, scale: 1, say: (line) => said.push(line) })
  const [, history = ''] = /^the history is in (.+)$/.exec(said.join()) ?? []
  rmSync(dirname(history), { recursive: true })
  expect(passed).toBe(false)
  expect(failures).toEqual([
    expect.stringMatching(/^it broke off: Error: no more/),
    expect.stringMatching(/^a bystander ended by itself with code 0/),
  ])
})

test.for(played.map((scenario): [string, Scenario] => [scenario.about, scenario]))(
  'every promise holds: %s',
  async ([, scenario]) => {
    const scale = (isLong ? BOUNDED_LONG : BOUNDED)[scenario.name] ?? 1
    const { failures, calls } = await playScenario(scenario, { postgres, scale, say: console.log })
    expect(failures).toEqual([])
    if (scenario.leastCalls !== 0) expect(calls).toBeGreaterThan(0)
  },
)
