// Five faults under a steady load, each measured alike: completions a second after it, over those before it.
//
//   capacity is measured ── half of it is offered from here to the end ──────────────────────────▶
//                           2 s │ before │ fault │ until calls end again │ 1 s │ after │
//
// What piled up is done in the window after, too: it makes the ratio larger than 1 where the recovery took long.
import type { Caller } from '../caller.ts'
import { measureCapacity } from '../capacity.ts'
import { expectThat, type Scenario } from '../scenario.ts'
import { pause, type Plane, type Stage } from '../stage.ts'
import type { Started } from '../processes.ts'

const LEAST_RATIO = 0.95
const RUNNERS = 4
/** A dead runner's jobs come back after a lease. */
const POLICY = { attempts: 20, leaseMs: 2_000 }

export interface Ground {
  stage: Stage
  planes: Plane[]
  runners: Started[]
  /** In the place of one that was killed. */
  newRunner(index: number): Started
  newPlane(index: number): Promise<void>
}

/** Breaks something, and returns once it is no longer being broken. */
type Break = (ground: Ground) => Promise<void>

export function recoveryFrom(name: string, about: string, breakIt: Break): Scenario {
  return {
    name,
    about: `${about}, at half of the capacity`,
    async play(stage) {
      const planes = [await stage.startPlane(), await stage.startPlane()]
      const urlOf = (index: number) => planes[index % planes.length]?.url ?? ''
      const newRunner = (index: number) => stage.startRunner(urlOf(index), { slots: 50, ...POLICY })
      const runners = Array.from({ length: RUNNERS }, (_, index) => newRunner(index))
      const newPlane = async (index: number) => {
        planes[index] = await stage.startPlane({ port: new URL(urlOf(index)).port })
      }
      await Promise.all(runners.map((runner) => runner.says(/serving/)))
      const caller = stage.caller(urlOf(0))
      const capacity = await measureCapacity(caller, { waiting: 150, ms: stage.size(4_000, 1_000) })
      stage.say(`the capacity is ${Math.round(capacity)} calls a second`)
      const over = new AbortController()
      const load = caller.offer(capacity / 2, over.signal, () => caller.run('work', 5))
      const windowMs = stage.size(10_000, 4_000)

      await pause(stage.size(2_000, 500))
      const before = await completions(caller, windowMs)
      await breakIt({ stage, planes, runners, newRunner, newPlane })
      const brokenMs = performance.now()
      await recovered(caller)
      const recoverySeconds = (performance.now() - brokenMs) / 1_000
      await pause(1_000)
      const after = await completions(caller, windowMs)
      over.abort()
      await load
      await stage.settled(60_000)
      const completionRatio = after / before
      return () => ({
        figures: { completionRatio, capacity, beforePerSecond: before, afterPerSecond: after, recoverySeconds },
        failures: expectThat(
          completionRatio >= LEAST_RATIO,
          `${after.toFixed(0)} completions a second after, ${before.toFixed(0)} before: ${completionRatio.toFixed(2)}`,
        ),
      })
    },
  }
}

/** A second, from now on for so long. */
async function completions(caller: Caller, ms: number): Promise<number> {
  const startedMs = performance.now()
  const before = caller.okAtMs.length
  await pause(ms)
  return ((caller.okAtMs.length - before) / (performance.now() - startedMs)) * 1_000
}

/** The first call that was made after the fault has ended. */
async function recovered(caller: Caller): Promise<void> {
  await Promise.race([caller.run('work', 5), pause(60_000)])
}
