// Networks break in the middle of anything: between the SDK and the plane, and between the plane and its database.
import { expectThat, type Scenario } from '../scenario.ts'
import { pause } from '../stage.ts'
import { startTcpProxy } from '../tcp-proxy.ts'

const CUT_EVERY_MS = 250
const SHARE = 0.2
const CALLS_PER_SECOND = 60
const PLAYED_MS = 25_000
const POLICY = { attempts: 20, leaseMs: 2_000 }

export const cutConnections: Scenario = {
  name: 'cut-connections',
  about: `${SHARE * 100} % of all connections, to the plane and to the database, reset every ${CUT_EVERY_MS} ms`,

  async play(stage) {
    const toDatabase = await startTcpProxy(stage.databaseUrl)
    const plane = await stage.startPlane({ databaseUrl: toDatabase.url })
    const toPlane = await startTcpProxy(plane.url)
    const runners = Array.from({ length: 4 }, () => stage.startRunner(toPlane.url, { slots: 20, ...POLICY }))
    await Promise.all(runners.map((runner) => runner.says(/serving/)))
    const callers = Array.from({ length: 5 }, () => stage.caller(toPlane.url))
    const over = new AbortController()
    const loads = callers.map((caller) =>
      caller.offer(CALLS_PER_SECOND / callers.length, over.signal, () =>
        Math.random() < 0.5 ? caller.run('work', 10) : caller.start('work', 10),
      ),
    )
    let cut = 0
    const untilMs = performance.now() + stage.size(PLAYED_MS, 3_000)
    while (performance.now() < untilMs) {
      await pause(CUT_EVERY_MS)
      cut += toDatabase.cut(SHARE) + toPlane.cut(SHARE)
      stage.fault('connections reset')
    }
    over.abort()
    await Promise.all(loads)
    await stage.settled(60_000)
    await Promise.all([toPlane.close(), toDatabase.close()])
    return ({ tables: { jobs } }) => ({
      figures: {
        cut,
        rerun: jobs.filter(({ attempt }) => attempt > 1).length,
        mostAttempts: Math.max(...jobs.map(({ attempt }) => attempt)),
      },
      failures: expectThat(cut > stage.size(200, 20), `only ${cut} connections were cut`),
    })
  },
}
