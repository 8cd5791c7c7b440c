// Runner processes die in the middle of jobs, five a second, and others take their place.
import { expectThat, type Scenario } from '../scenario.ts'
import { pause, type Stage } from '../stage.ts'
import type { Started } from '../processes.ts'

const RUNNERS = 8
const KILL_EVERY_MS = 200
/** Each death costs the jobs in its process an attempt, and the same job may meet several. */
const POLICY = { attempts: 50, leaseMs: 1_000 }

export const killRunners: Scenario = {
  name: 'kill-runners',
  about: `${RUNNERS} runners, one of them killed every ${KILL_EVERY_MS} ms and replaced`,
  leastCalls: 10_000,

  async play(stage) {
    const leastKills = stage.size(100, 20)
    const planes = [await stage.startPlane(), await stage.startPlane()]
    const urls = planes.map(({ url }) => url)
    const fleet = fleetOn(stage, urls)
    // A call made before its function is registered would not have its policy.
    await Promise.all(Array.from({ length: RUNNERS }, () => fleet.start()))
    const startedMs = performance.now()
    const killing = new AbortController()
    const killer = keepKilling(stage, fleet, killing.signal)
    const caller = stage.caller(urls[0] ?? '')
    const calls = stage.size(10_000, 300)
    const atOnce = stage.size(1_000, 100)
    // Some wait in the request that makes them, the others are accepted first.
    for (let made = 0; made < calls || fleet.kills < leastKills;) {
      for (let i = 0; i < 25; i++) void (i % 2 ? caller.run('work', 20) : caller.start('work', 20))
      made += 25
      if (made % 2_500 === 0) stage.say(`${made} calls made, ${caller.okAtMs.length} ended`)
      while (caller.waiting > atOnce) await pause(10)
    }
    await stage.settled(90_000)
    killing.abort()
    await killer
    const { kills } = fleet
    const seconds = (performance.now() - startedMs) / 1_000
    return ({ tables }) => ({
      figures: {
        kills,
        killsPerSecond: kills / seconds,
        mostAttempts: Math.max(...tables.jobs.map(({ attempt }) => attempt)),
        rerun: tables.jobs.filter(({ attempt }) => attempt > 1).length,
      },
      failures: expectThat(kills >= leastKills, `only ${kills} runners were killed`),
    })
  },
}

interface Fleet {
  /** Those that serve, the oldest first. */
  serving: Started[]
  kills: number
  /** Resolves once it serves. */
  start(): Promise<void>
}

function fleetOn(stage: Stage, urls: string[]): Fleet {
  let started = 0
  return {
    serving: [],
    kills: 0,
    async start() {
      const runner = stage.startRunner(urls[started++ % urls.length] ?? '', { slots: 10, ...POLICY })
      await runner.says(/serving/)
      this.serving.push(runner)
    },
  }
}

/**
 * Only those that serve: a process that is killed while it starts has nothing to lose. Half of them are spared, which a
 * machine that starts five a second never notices.
 */
async function keepKilling(stage: Stage, fleet: Fleet, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await pause(KILL_EVERY_MS)
    if (fleet.serving.length <= RUNNERS / 2) continue
    void fleet.serving.shift()?.end('SIGKILL')
    stage.fault('a runner killed')
    fleet.kills++
    // It may be the run that ends it.
    fleet.start().catch(() => {})
  }
}
