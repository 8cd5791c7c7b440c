// One tenant fills the queue; the single calls of another are served as if it were not there.
import { cancelJobs } from '../../../src/jobs/cancel.ts'
import { expectThat, type Scenario } from '../scenario.ts'
import { pause, type Stage } from '../stage.ts'

const NOISE = 100_000
const BATCH = 1_000
const MAX_WAIT_MS = 2_000
const POLICY = { attempts: 3, leaseMs: 10_000 }

export const noisyNeighbour: Scenario = {
  name: 'noisy-neighbour',
  about: `a tenant enqueues ${NOISE} jobs while another makes single calls`,
  leastCalls: NOISE,

  async play(stage) {
    const { url } = await stage.startPlane()
    const quiet = await stage.newTenant('tenant_b')
    const runners = [
      ...[1, 2].map(() => stage.startRunner(url, { slots: 100, ...POLICY })),
      stage.startRunner(url, { slots: 10, tenant: quiet, ...POLICY }),
    ]
    await Promise.all(runners.map((runner) => runner.says(/serving/)))
    const over = new AbortController()
    const single = singleCalls(stage, url, quiet, over.signal)
    const noisy = stage.caller(url)
    const jobs = stage.size(NOISE, 2_000)
    for (let made = 0; made < jobs; made += BATCH) {
      await noisy.batch('work', Math.min(BATCH, jobs - made), 1, { isFollowed: false })
      if (made % 25_000 === 0) stage.say(`${made + BATCH} jobs enqueued`)
    }
    // And while it is worked off.
    await pause(stage.size(20_000, 3_000))
    over.abort()
    const waits = await single
    const cancelled = await cancelTheRest(stage)
    await stage.settled(60_000)
    return () => {
      const maxWaitMs = Math.max(...waits)
      return {
        figures: { maxWaitMs, singleCalls: waits.length, cancelled },
        failures: [
          ...expectThat(maxWaitMs < MAX_WAIT_MS, `a single call took ${Math.round(maxWaitMs)} ms`),
          ...expectThat(waits.length >= stage.size(40, 4), `only ${waits.length} single calls were made`),
        ],
      }
    }
  },
}

/** One after the other; returns how long each took. */
async function singleCalls(
  stage: Stage,
  url: string,
  tenant: Parameters<Stage['caller']>[1],
  signal: AbortSignal,
): Promise<number[]> {
  const caller = stage.caller(url, tenant)
  const waits: number[] = []
  while (!signal.aborted) {
    const startedMs = performance.now()
    await caller.run('work', 1)
    waits.push(performance.now() - startedMs)
    await pause(250)
  }
  return waits
}

/** Working off all of it would prove nothing more. */
async function cancelTheRest({ sql, tenant: { namespace } }: Stage): Promise<number> {
  const reach = { namespace, services: null }
  for (let cancelled = 0; ;) {
    const rows = await sql<{ id: string }>(`select id from callplane.jobs where state = 'pending' limit 1000`)
    if (rows.length === 0) return cancelled
    const ended = await cancelJobs(sql, reach, rows.map((row) => row.id), 'the run is over') // prettier-ignore
    cancelled += ended.filter(({ isFirst }) => isFirst).length
  }
}
