// The database over HTTP: a twentieth of all statements fails, and as many hang, are rolled back, or lose their answer.
import { join } from 'node:path'
import { ROOT } from '../processes.ts'
import { expectThat, type Scenario } from '../scenario.ts'
import { pause } from '../stage.ts'

const CALLS = 1_500
const CALLS_PER_SECOND = 50
/** What a lost answer to a claim costs is a short lease; what it costs to report is a retry. */
const POLICY = { attempts: 20, leaseMs: 3_000 }

export const sqlFaults: Scenario = {
  name: 'sql-faults',
  about: 'Neon over HTTP: 5 % of all statements each refused, reset, rolled back, slow, unanswered after their commit',

  async play(stage) {
    const env = { DATABASE_URL: stage.databaseUrl }
    const plane = stage.processes.start('a plane', join(ROOT, 'test/chaos/neon-plane.ts'), [], { env })
    const [, url = ''] = await plane.says(/listening at (\S+)/)
    const runners = Array.from({ length: 4 }, () => stage.startRunner(url, { slots: 20, ...POLICY }))
    await Promise.all(runners.map((runner) => runner.says(/serving/)))
    const caller = stage.caller(url)
    const calls = stage.size(CALLS, 200)
    const over = new AbortController()
    let made = 0
    await caller.offer(CALLS_PER_SECOND, over.signal, () => {
      if (++made === calls) over.abort()
      return made % 2 ? caller.run('work', 10) : caller.start('work', 10)
    })
    stage.say(`${calls} calls made`)
    await stage.settled(90_000)
    await pause(300)
    const [, injected = '0', statements = '0'] = /.*faults (\d+) of (\d+)/s.exec(plane.output) ?? []
    return ({ tables: { jobs } }) => ({
      figures: {
        faults: Number(injected),
        statements: Number(statements),
        rerun: jobs.filter(({ attempt }) => attempt > 1).length,
        mostAttempts: Math.max(...jobs.map(({ attempt }) => attempt)),
      },
      failures: [
        ...expectThat(Number(injected) > Number(statements) / 5, `${injected} of ${statements} statements went wrong`),
        ...expectThat(jobs.length === calls, `${calls} calls are ${jobs.length} rows`),
      ],
    })
  },
}
