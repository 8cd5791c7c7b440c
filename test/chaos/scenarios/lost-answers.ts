// The plane commits and its answer never arrives: claims and creates are asked for again, and must be the same ones.
import { decodeBody } from '../../../src/protocol/wire.ts'
import { measureCapacity } from '../capacity.ts'
import { startHttpProxy, type Exchange } from '../http-proxy.ts'
import { expectThat, type Scenario } from '../scenario.ts'
import { pause } from '../stage.ts'

const LOST_CLAIMS = 0.2
const LOST_CREATES = 0.3
const MAX_WAIT_MS = 2_000
/** Of what the machine can do: well below it, so that what a job waits is due to the answers alone. */
const LOAD = 1 / 3
const POLICY = { attempts: 5, leaseMs: 30_000 }

export const lostAnswers: Scenario = {
  name: 'lost-answers',
  about: `the answers to ${LOST_CLAIMS * 100} % of claims and ${LOST_CREATES * 100} % of creates lost after the commit`,
  leastCalls: 10_000,

  async play(stage) {
    const { url } = await stage.startPlane()
    const claims = { seen: 0, lost: 0 }
    const creates = { seen: 0, lost: 0 }
    const draw = (counts: typeof claims, share: number): boolean => {
      counts.seen++
      const isLost = Math.random() < share
      if (isLost) counts.lost++
      return isLost
    }
    let isBreaking = false
    const isLost = (exchange: Exchange): boolean => {
      if (!isBreaking) return false
      if (exchange.path === '/v1/calls') return draw(creates, LOST_CREATES)
      return broughtJobs(exchange) && draw(claims, LOST_CLAIMS)
    }
    const proxy = await startHttpProxy(url, { isLost })
    const runners = Array.from({ length: 4 }, () => stage.startRunner(proxy.url, { slots: 20, ...POLICY }))
    await Promise.all(runners.map((runner) => runner.says(/serving/)))
    const callers = Array.from({ length: 10 }, () => stage.caller(proxy.url))
    const capacity = await measureCapacity(stage.caller(proxy.url), { waiting: 100, ms: stage.size(3_000, 1_000) })
    stage.say(`the capacity is ${Math.round(capacity)} calls a second`)
    const calls = stage.size(10_000, 300)
    const firstCall = stage.nextCall()
    isBreaking = true
    const startedMs = performance.now()
    for (let made = 0, turn = 0; made < calls; turn++, await pause(25)) {
      const due = Math.min(calls, ((performance.now() - startedMs) / 1_000) * capacity * LOAD)
      // Calls of one tick share a request: one of the callers sends one.
      for (; made < due; made++) void callers[turn % callers.length]?.start('work', 5)
    }
    stage.say(`${calls} calls made`)
    await stage.settled(60_000)
    await proxy.close()
    return ({ history, tables: { jobs } }) => {
      const firstAtMs = new Map<string, number>()
      for (const event of history) {
        if (event.kind === 'execution' && !firstAtMs.has(event.job)) firstAtMs.set(event.job, event.atMs)
      }
      const broken = jobs.filter(({ call }) => call > firstCall)
      const waits = broken.map(({ id, createdAtMs }) => (firstAtMs.get(id) ?? Infinity) - createdAtMs)
      const maxWaitMs = waits.reduce((most, wait) => Math.max(most, wait), 0)
      const mostAttempts = Math.max(...broken.map(({ attempt }) => attempt))
      const late = waits.filter((wait) => wait > MAX_WAIT_MS).length
      return {
        figures: {
          maxWaitMs,
          lostClaims: claims.lost,
          ofClaims: claims.seen,
          lostCreates: creates.lost,
          ofCreates: creates.seen,
          mostAttempts,
        },
        failures: [
          ...expectThat(
            late === 0,
            `${late} jobs waited longer than ${MAX_WAIT_MS} ms, ${Math.round(maxWaitMs)} at most`,
          ),
          ...expectThat(mostAttempts === 1, `a job took ${mostAttempts} attempts`),
          ...expectThat(broken.length === calls, `${calls} calls are ${broken.length} rows`),
        ],
      }
    }
  },
}

function broughtJobs({ path, answer }: Exchange): boolean {
  if (path !== '/v1/runners/poll') return false
  const { jobs } = decodeBody(answer) as { jobs?: unknown[] } // what the plane answers to a poll, or an error
  return jobs !== undefined && jobs.length > 0
}
