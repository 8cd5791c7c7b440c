// A cancel, a timeout and a completion meet at one job: one of them wins, and everyone hears the same.
import { textOf } from '../../../src/bell/messages.ts'
import { notifyChannel } from '../../../src/bell/notify.ts'
import { sweep } from '../../../src/jobs/sweep.ts'
import type { Caller } from '../caller.ts'
import { expectThat, type Scenario } from '../scenario.ts'
import { pause, type Stage } from '../stage.ts'

/** So many at once, so that they also meet one another's locks. */
const TOGETHER = 250
const TIMEOUT_MS = 400
const SPREAD_MS = 100
/** By how much a competitor that wins too seldom starts sooner, or later where it wins too often. */
const HANDICAP_MS = 20

/** When the function returns and when the cancel is sent, so that each arrives at the timeout; learnt from who won. */
interface Handicaps {
  completionMs: number
  cancelMs: number
}

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
    const calls = stage.size(10_000, 300)
    const together = stage.size(TOGETHER, 30)
    const handicaps = { completionMs: TIMEOUT_MS - 20, cancelMs: TIMEOUT_MS }
    let before = await winners(stage)
    for (let raced = 0; raced < calls; raced += together) {
      await raceTogether(caller, Math.min(together, calls - raced), handicaps)
      const after = await winners(stage)
      handicaps.completionMs += correction(after.completed - before.completed, together)
      handicaps.cancelMs += correction(after.cancelled - before.cancelled, together)
      before = after
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

async function raceTogether(caller: Caller, count: number, { completionMs, cancelMs }: Handicaps): Promise<void> {
  const around = (ms: number) => Math.max(0, ms + SPREAD_MS * (Math.random() - 0.5))
  await Promise.all(
    Array.from({ length: count }, async () => {
      const call = await caller.start('race', around(completionMs), { timeoutMs: TIMEOUT_MS })
      if (call === null) return
      await pause(around(cancelMs))
      await caller.cancel(call)
    }),
  )
  while (caller.waiting > 0) await pause(5)
}

async function winners({ sql }: Stage): Promise<{ completed: number; cancelled: number }> {
  const [row] = await sql<{ completed: number; cancelled: number }>(
    `select count(*) filter (where state = 'succeeded') as completed,
      count(*) filter (where state = 'cancelled') as cancelled
    from callplane.jobs`,
  )
  return row ?? { completed: 0, cancelled: 0 }
}

function correction(won: number, of: number): number {
  if (won < of / 5) return -HANDICAP_MS
  return won > of / 2 ? HANDICAP_MS : 0
}

/** The plane's own alarm comes a moment after the first timeout, when most races would be over. */
async function sweepWithoutRest({ sql, tenant }: Stage, signal: AbortSignal): Promise<void> {
  const channel = notifyChannel({ sql, connect: () => Promise.reject(new Error('it only sends')) })
  // As the sweep of another process would tell it: look for yourselves.
  const look = textOf({ from: 'races', look: [tenant.namespace] })
  while (!signal.aborted) {
    for await (const _ of sweep(sql, { retentionMs: 86_400_000 })) await channel.send(look)
    await pause(5)
  }
}
