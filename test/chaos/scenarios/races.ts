// A cancel, a timeout and a completion meet at one job: one of them wins, and everyone hears the same.
import { sweep } from '../../../src/jobs/sweep.ts'
import type { Caller } from '../caller.ts'
import { expectThat, type Scenario } from '../scenario.ts'
import { pause, type Stage } from '../stage.ts'

/** So many at once, so that they also meet one another's locks. */
const TOGETHER = 250
const TIMEOUT_MS = 300
const SPREAD_MS = 60

export const races: Scenario = {
  name: 'races',
  about: 'cancel, timeout and completion of one job at one moment',
  leastCalls: 10_000,

  async play(stage) {
    const { url } = await stage.startPlane()
    const runners = [1, 2].map(() => stage.startRunner(url, { slots: TOGETHER, attempts: 1, leaseMs: 30_000 }))
    await Promise.all(runners.map((runner) => runner.says(/serving/)))
    const sweeping = new AbortController()
    const sweeps = sweepWithoutRest(stage, sweeping.signal)
    const caller = stage.caller(url)
    const calls = stage.size(10_000, 250)
    for (let raced = 0; raced < calls; raced += TOGETHER) {
      await raceTogether(caller, Math.min(TOGETHER, calls - raced))
      if (raced % 2_500 === 0) stage.say(`${raced} races run`)
    }
    await stage.settled(30_000)
    sweeping.abort()
    await sweeps
    return ({ tables: { jobs } }) => {
      const completed = jobs.filter(({ state }) => state === 'succeeded').length
      const cancelled = jobs.filter(({ state }) => state === 'cancelled').length
      const timedOut = jobs.filter(({ failure }) => failure === 'timed_out').length
      const least = Math.min(completed, cancelled, timedOut)
      return {
        figures: { completed, cancelled, timedOut },
        failures: [
          ...expectThat(completed + cancelled + timedOut === calls, 'some ended otherwise'),
          ...expectThat(least >= calls / 50, `one of the three won ${least} of ${calls} times: that is no race`),
        ],
      }
    }
  },
}

async function raceTogether(caller: Caller, count: number): Promise<void> {
  const around = () => TIMEOUT_MS + SPREAD_MS * (Math.random() - 0.5)
  await Promise.all(
    Array.from({ length: count }, async () => {
      const call = await caller.start('race', around() - 20, { timeoutMs: TIMEOUT_MS })
      if (call === null) return
      await pause(around())
      await caller.cancel(call)
    }),
  )
  while (caller.waiting > 0) await pause(5)
}

/** The plane sweeps once a second, when most races would be over. */
async function sweepWithoutRest(stage: Stage, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    for await (const _ of sweep(stage.sql, { retentionMs: 86_400_000 })) continue
    await pause(5)
  }
}
