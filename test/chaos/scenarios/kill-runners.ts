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
    const planes = [await stage.startPlane(), await stage.startPlane()]
    const urls = planes.map(({ url }) => url)
    const killing = new AbortController()
    const startedMs = performance.now()
    const killer = keepKilling(stage, urls, killing.signal)
    const caller = stage.caller(urls[0] ?? '')
    const calls = stage.size(10_000, 300)
    // Some wait in the request that makes them, the others are accepted first.
    for (let made = 0; made < calls;) {
      const more = Math.min(25, calls - made)
      for (let i = 0; i < more; i++) void (i % 2 ? caller.run('work', 20) : caller.start('work', 20))
      made += more
      if (made % 2_500 === 0) stage.say(`${made} calls made, ${caller.okAtMs.length} ended`)
      while (caller.waiting > 1_000) await pause(10)
    }
    await stage.settled(90_000)
    killing.abort()
    const kills = await killer
    const seconds = (performance.now() - startedMs) / 1_000
    return ({ tables }) => ({
      figures: {
        kills,
        killsPerSecond: kills / seconds,
        mostAttempts: Math.max(...tables.jobs.map(({ attempt }) => attempt)),
        rerun: tables.jobs.filter(({ attempt }) => attempt > 1).length,
      },
      failures: expectThat(kills >= stage.size(100, 5), `only ${kills} runners were killed`),
    })
  },
}

/**
 * Those that serve, the oldest first: a process that is killed while it starts has nothing to lose. Half of them are spared,
 * which a machine that starts five a second never notices.
 */
async function keepKilling(stage: Stage, urls: string[], signal: AbortSignal): Promise<number> {
  const serving: Started[] = []
  const start = (index: number): Promise<unknown> => {
    const runner = stage.startRunner(urls[index % urls.length] ?? '', { slots: 10, ...POLICY })
    return runner.says(/serving/).then(() => serving.push(runner))
  }
  await Promise.all(Array.from({ length: RUNNERS }, (_, index) => start(index)))
  let kills = 0
  while (!signal.aborted) {
    await pause(KILL_EVERY_MS)
    if (serving.length <= RUNNERS / 2) continue
    void serving.shift()?.end('SIGKILL')
    stage.fault('a runner killed')
    // It may be the run that ends it.
    start(kills++).catch(() => {})
  }
  return kills
}
