// Postgres loses its power again and again under load: what it had acknowledged is there, and no fence comes twice.
import { expectThat, type Scenario } from '../scenario.ts'
import { pause } from '../stage.ts'

const CUTS = 100
const CALLS_PER_SECOND = 60
/** Runners that find no database hold back for seconds: a lease outlives that. */
const POLICY = { attempts: 200, leaseMs: 10_000 }

export const powerCuts: Scenario = {
  name: 'power-cuts',
  about: `Postgres and all of its processes killed ${CUTS} times under load`,

  async play(stage) {
    await requireSync(stage.sql)
    const planes = [await stage.startPlane(), await stage.startPlane()]
    const urls = planes.map(({ url }) => url)
    const runners = [0, 1, 2, 3].map((index) => stage.startRunner(urls[index % 2] ?? '', { slots: 10, ...POLICY }))
    await Promise.all(runners.map((runner) => runner.says(/serving/)))
    const caller = stage.caller(urls[0] ?? '')
    const over = new AbortController()
    let turn = 0
    const load = caller.offer(CALLS_PER_SECOND, over.signal, () => caller.start(turn++ % 2 ? 'once' : 'work', 20))
    const cuts = stage.size(CUTS, 5)
    let downMs = 0
    for (let cut = 1; cut <= cuts; cut++) {
      await pause(400 + 600 * Math.random())
      const cutMs = performance.now()
      await stage.postgres.kill()
      stage.fault('the power of Postgres cut')
      await stage.postgres.start()
      downMs += performance.now() - cutMs
      if (cut % 25 === 0) stage.say(`${cut} cuts, ${caller.okAtMs.length} calls have ended`)
    }
    over.abort()
    await load
    await stage.settled(60_000)
    return ({ findings, tables: { jobs } }) => {
      const once = jobs.filter(({ maxAttempts }) => maxAttempts === 1)
      return {
        figures: {
          cuts,
          meanDownMs: downMs / cuts,
          onceSucceeded: once.filter(({ state }) => state === 'succeeded').length,
          onceStalled: once.filter(({ failure }) => failure === 'stalled').length,
          rerun: jobs.filter(({ attempt }) => attempt > 1).length,
        },
        failures: expectThat(findings.accepted > cuts, 'hardly a call was accepted'),
      }
    }
  },
}

/** Without them, a cut would prove nothing. */
async function requireSync(sql: (text: string) => Promise<{ setting?: unknown }[]>): Promise<void> {
  const rows = await sql(
    `select setting from pg_settings where name in ('fsync', 'synchronous_commit', 'full_page_writes')`,
  )
  if (rows.length !== 3 || rows.some(({ setting }) => setting !== 'on')) throw new Error('this Postgres does not sync')
}
