// The model of the statements is held to Postgres: random operations on both, and each answer and each row compared.
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { ModelPlant } from './model/plants.ts'
import { Operations } from './random-operations.ts'
import { Random } from './random.ts'
import { Twin } from './twin.ts'

const isLong = process.env['CALLPLANE_LONG'] === '1'
const WORLDS = isLong ? 1_000 : 16
const STEPS = 60
const STEPS_MS = [0, 0, 1, 40, 500, 3_000, 20_000] as const

let opened: Awaited<ReturnType<typeof Twin.open>>

beforeAll(async () => {
  opened = await Twin.open()
})

afterAll(() => opened.close())

/** The operations that ran; throws at the first difference. */
async function compare(twin: Twin, seed: number, plants: ReadonlySet<ModelPlant> = new Set()): Promise<Set<string>> {
  const random = new Random(seed)
  await twin.clear(plants)
  const { verbs } = new Operations(twin.sql, random, () => twin.nowMs)
  const names = Object.keys(verbs)
  const used = new Set<string>()
  for (let step = 0; step < STEPS; step++) {
    const name = random.pick(names)
    await verbs[name]?.()
    used.add(name)
    await twin.compareTables()
    await twin.advance(random.pick(STEPS_MS))
  }
  return used
}

test('the model answers and keeps what Postgres does, whatever is asked in whatever order', async () => {
  const used = new Set<string>()
  const { twin } = opened
  for (let seed = 1; seed <= WORLDS; seed++) for (const name of await compare(twin, seed)) used.add(name)
  expect(used.size).toBe(18)
  expect(twin.statements).toBeGreaterThan(WORLDS * 30)
})

test.each<ModelPlant>(['retention-forgets-early', 'fence-follows-attempt', 'give-back-without-bound'])(
  'a model with the bug %s is not what Postgres is',
  async (plant) => {
    const all = async () => {
      for (let seed = 1; seed <= 100; seed++) await compare(opened.twin, seed, new Set([plant]))
    }
    await expect(all()).rejects.toThrow('Postgres has')
  },
)
