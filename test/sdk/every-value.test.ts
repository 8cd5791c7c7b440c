// Every value that the codec knows goes from the SDK through the plane to a runner and back, unchanged.
import { Callplane } from 'callplane'
import fc from 'fast-check'
import { expect, onTestFinished, test } from 'vitest'
import { anyValue } from '../protocol/any-value.ts'
import { isSame } from '../protocol/same-value.ts'
import { setup } from '../support/plane.ts'

/** Each check draws others. What the codec makes of them is shown by its own tests, with four times as many. */
const VALUES = process.env['CALLPLANE_LONG'] === '1' ? 100_000 : 5_000
const PER_CALL = 500
const AT_ONCE = 10

test(`${VALUES} generated values survive the round trip`, { timeout: 300_000 }, async () => {
  const plane = await setup()
  const connected = new Callplane(plane.options)
  onTestFinished(() => connected.close())
  let reached = 0
  const echo = connected.service('echo', {
    functions: {
      back: (values: unknown[]) => {
        reached += values.length
        return values
      },
    },
  })
  await echo.start()
  const client = connected.client<typeof echo>('echo')
  const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31)
  let batch = 0
  const roundTrip = async () => {
    const sent = fc.sample(anyValue, { numRuns: PER_CALL, seed: seed + batch++ })
    const back = await client.back(sent)
    const changed = sent.findIndex((value, index) => !isSame(value, back[index]))
    if (changed >= 0) {
      throw new Error(
        `SEED=${seed + batch - 1}: value ${changed} changed: ${fc.stringify(sent[changed])} to ${fc.stringify(back[changed])}`,
      )
    }
  }
  for (let done = 0; done < VALUES; done += PER_CALL * AT_ONCE) {
    await Promise.all(Array.from({ length: AT_ONCE }, roundTrip))
  }
  expect(reached).toBe(VALUES)
})
