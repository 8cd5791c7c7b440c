// The simulated worlds, as far as each check has time for them; all of them where the long proofs run.
import { describe, expect, test } from 'vitest'
import { run } from '../support/cli.ts'
import { MODEL_PLANTS } from './model/plants.ts'
import { SOURCE_PLANTS } from './plants.ts'

const isLong = process.env['CALLPLANE_LONG'] === '1'
const MAIN = 'test/simulation/main.ts'

async function simulate(...args: string[]): Promise<{ code: number | null; output: string }> {
  return run(MAIN, args).exit
}

/** What `--json` prints. */
interface Summary {
  seeds: number
  calls: number
  violations: number
}

async function summaryOf(...args: string[]): Promise<Summary> {
  const { output } = await simulate('--json', ...args)
  return JSON.parse(output) as Summary // its last line, and only one
}

test('the same seed is the same world, in another process too', async () => {
  const [first, second, other] = [
    await simulate('--seed', '9', '--calls', '60'),
    await simulate('--seed', '9', '--calls', '60'),
    await simulate('--seed', '10', '--calls', '60'),
  ].map(({ output }) => /fingerprint (\w+)/.exec(output)?.[1])
  expect(first).toMatch(/^[0-9a-f]{8}$/)
  expect(second).toBe(first)
  expect(other).not.toBe(first)
})

test('no call is lost, run too often or answered wrongly, whatever fails', async () => {
  const { calls, violations } = await (isLong
    ? summaryOf('--seeds', '1500', '--calls', '1000')
    : summaryOf('--seeds', '40', '--calls', '100'))
  expect(violations).toBe(0)
  expect(calls).toBeGreaterThan(isLong ? 1_000_000 : 2_500)
})

describe('a bug that is planted is found:', () => {
  const quick = [
    'complete-takes-old-token',
    'redelivery-makes-new-tokens',
    'claim-sets-no-alarm',
    'give-back-without-evidence',
    'sdk-drops-reports',
  ]
  // Only many give-backs of one job show it, which the worlds have hardly ever: the differential test finds it.
  const all = [...Object.keys(MODEL_PLANTS), ...Object.keys(SOURCE_PLANTS)].filter(
    (name) => name !== 'give-back-without-bound',
  )
  test.each(isLong ? all : quick)('%s', async (plant) => {
    const size = isLong ? ['--seeds', '1000', '--calls', '300'] : ['--seeds', '60', '--calls', '100']
    const { violations } = await summaryOf('--plant', plant, ...size)
    expect(violations).toBe(1)
  })

  test('with its seed, what befell the job, and how to run it again', async () => {
    const { code, output } = await simulate('--plant', 'give-back-without-evidence', '--calls', '300')
    expect(code).toBe(1)
    expect(output).toMatch(/runs attempt \d under fence \d\n/)
    expect(output).toMatch(/VIOLATION with seed \d+: runs under fence \d, which was given back/)
    expect(output).toMatch(/replay: node test\/simulation\/main.ts --seed \d+ --calls 300 --plant \S+ --trace/)
  })
})
