// What a call costs on Cloudflare: calls made one at a time by the SDK, all that they ask counted, printed and bounded.
import { env } from 'cloudflare:workers'
import { Callplane } from 'callplane'
import { expect, onTestFinished, test } from 'vitest'
import { setup } from '../support/worker.ts'
import { bellWork, overFreePlan, spent, subrequestsOf } from './meter.ts'

const CALLS = env.CALLPLANE_LONG === '1' ? 1_000 : 100

/** The most that a call may take on average, with all that goes on beside it: keys, arms, sweeps, looks for nothing. */
const MOST = {
  /** The caller's create, which waits for the outcome; the runner's poll, which reports and waits for the next job. */
  requestsPerCall: 2.05,
  /** To insert, to claim, to complete, which no call can do without. */
  roundTripsPerCall: 3.1,
  /** Most of them calls to the bell: two sockets and two rings a call, and another where the runner waits anew. */
  ringsPerCall: 5.1,
  subrequestsPerRequest: 10,
}

const sumOf = (counts: readonly number[]) => counts.reduce((total, count) => total + count, 0)

/** As the database endpoint has counted them. */
const roundTrips = async () => Number(await (await fetch(env.STATEMENTS_URL)).text())

test(`${CALLS} calls, one after another`, { timeout: 300_000 }, async () => {
  spent()
  const startedAt = await roundTrips()
  const { options } = await setup()
  const connected: Callplane[] = []
  const connect = () => {
    const one = new Callplane(options)
    connected.push(one)
    onTestFinished(() => one.close())
    return one
  }
  const adder = connect().service('adder', { functions: { add: (a: number, b: number) => a + b } })
  await adder.start()
  const client = connect().client<typeof adder>('adder')
  await client.add(0, 0)
  const before = spent()
  bellWork()
  const beganAt = await roundTrips()
  for (let n = 0; n < CALLS; n++) expect(await client.add(n, 1)).toBe(n + 1)
  const trips = (await roundTrips()) - beganAt
  const during = spent()
  const { messages, alarms, rowsWritten, busyMs } = bellWork()
  const requests = during.filter(({ what }) => what.startsWith('POST'))
  const rings = sumOf(during.map((one) => one.rings))
  const figures = {
    requests: requests.length,
    'round trips to the database': trips,
    'calls to Durable Objects': rings,
    'messages to them': messages,
    'alarms of them': alarms,
    'rows that they wrote': rowsWritten,
    'ms that they were busy': busyMs,
  }
  console.log(`a call, over ${CALLS} of them:`)
  for (const [name, count] of Object.entries(figures)) console.log(`  ${(count / CALLS).toFixed(3)} ${name}`)

  expect([...new Set(overFreePlan(during))]).toEqual([])
  expect(requests.length / CALLS).toBeLessThan(MOST.requestsPerCall)
  expect(trips / CALLS).toBeLessThan(MOST.roundTripsPerCall)
  expect(rings / CALLS).toBeLessThan(MOST.ringsPerCall)
  expect(Math.max(...requests.map(subrequestsOf))).toBeLessThanOrEqual(MOST.subrequestsPerRequest)

  // Nothing went by the meter: once all is said and done, the endpoint has counted the same.
  await Promise.all(connected.map((one) => one.close()))
  const all = [...before, ...during, ...spent()]
  expect(sumOf(all.map(({ statements }) => statements))).toBe((await roundTrips()) - startedAt)
})
