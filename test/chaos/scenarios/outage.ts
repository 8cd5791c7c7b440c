// The plane and its database are away for a while: who waits goes on waiting, and nobody storms in when they are back.
import type { Caller } from '../caller.ts'
import { startHttpProxy, type HttpProxy } from '../http-proxy.ts'
import { expectThat, type Scenario } from '../scenario.ts'
import { pause } from '../stage.ts'

const AWAY_MS = 120_000
const CALLERS = 10
const WAITING = 200
/** Beside those that wait: each asks again a second after its answer, so that what piles up meanwhile is one call each. */
const LOOPS_OF_CALLER = 4
const LOOP_MS = 1_000
const MOST_RATIO = 2
const POLICY = { attempts: 10, leaseMs: 30_000 }

export const outage: Scenario = {
  name: 'outage',
  about: `plane and database away for ${AWAY_MS / 1_000} s, ${WAITING} calls waiting`,

  async play(stage) {
    const plane = await stage.startPlane()
    const proxy = await startHttpProxy(plane.url)
    const runners = Array.from({ length: 8 }, () => stage.startRunner(proxy.url, { slots: 40, ...POLICY }))
    await Promise.all(runners.map((runner) => runner.says(/serving/)))
    const callers = Array.from({ length: CALLERS }, () => stage.caller(proxy.url))
    const awayMs = stage.size(AWAY_MS, 4_000)
    const over = new AbortController()
    const loads = callers.flatMap((caller) => Array.from({ length: LOOPS_OF_CALLER }, () => loop(caller, over.signal)))
    for (let waiting = 0; waiting < WAITING; waiting++) {
      const caller = callers[waiting % CALLERS]
      // Half of them run all the while, the others come due in the middle of it.
      if (waiting % 2) void caller?.run('work', awayMs + 10_000)
      else void caller?.run('work', 5, { delayMs: 12_000 + awayMs / 2 })
    }
    await pause(2_000)
    const normal = await busiestSecond(proxy, stage.size(10_000, 4_000))

    await Promise.all([plane.process.end('SIGKILL'), stage.postgres.shutDown()])
    stage.fault('plane and database gone')
    const meanwhile = await busiestSecond(proxy, awayMs)
    await stage.postgres.start()
    await stage.startPlane({ port: new URL(plane.url).port })
    stage.fault('plane and database back')
    stage.say('plane and database are back')
    const back = await busiestSecond(proxy, stage.size(20_000, 8_000))
    over.abort()
    await Promise.all(loads)
    // Where the sweep was quicker than the runner's first word, what ran all the while runs once more.
    await stage.settled(awayMs + 60_000)
    await proxy.close()
    return ({ tables: { jobs } }) => ({
      figures: {
        requestRatio: back / normal,
        normalPerSecond: normal,
        awayPerSecond: meanwhile,
        backPerSecond: back,
        rerun: jobs.filter(({ attempt }) => attempt > 1).length,
      },
      failures: [
        ...expectThat(back <= MOST_RATIO * normal, `${back} requests in a second at the return, ${normal} before`),
        ...expectThat(
          jobs.every(({ state }) => state === 'succeeded'),
          'not every call ended well',
        ),
      ],
    })
  },
}

async function loop(caller: Caller, signal: AbortSignal): Promise<void> {
  await pause(LOOP_MS * Math.random())
  while (!signal.aborted) {
    await caller.run('work', 20)
    await pause(LOOP_MS)
  }
}

/** The most requests in any one second of the next so many milliseconds. */
async function busiestSecond({ requestsAtMs }: HttpProxy, ms: number): Promise<number> {
  const from = requestsAtMs.length
  await pause(ms)
  const times = requestsAtMs.slice(from)
  let first = 0
  return times.reduce((most, atMs, last) => {
    while ((times[first] ?? atMs) < atMs - 1_000) first++
    return Math.max(most, last - first + 1)
  }, 0)
}
