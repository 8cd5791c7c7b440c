// A function that ends its process: it costs as many processes as it has attempts, and nobody else's job.
import { expectThat, type Scenario } from '../scenario.ts'
import type { Started } from '../processes.ts'
import type { Stage } from '../stage.ts'
import { POISONED } from '../work.ts'

const RUNNERS = 10
const ATTEMPTS = 3
const POLICY = { attempts: ATTEMPTS, leaseMs: 1_000 }

export const poison: Scenario = {
  name: 'poison',
  about: 'a job whose function ends its process, among a thousand others',

  async play(stage) {
    const { url } = await stage.startPlane()
    const deaths: number[] = []
    const runners = Array.from({ length: RUNNERS }, () => keepRunner(stage, url, () => deaths.push(Date.now())))
    // A call made before its function is registered would not have its policy.
    await Promise.all(runners.map((runner) => runner.says(/serving/)))
    const caller = stage.caller(url)
    const others = stage.size(999, 49)
    // Both sides of it in the queue, and those that a claim brings along with it.
    await caller.batch('work', others >> 1, 20)
    await caller.start('poison')
    await caller.batch('work', others - (others >> 1), 20)
    await stage.settled(60_000)
    return ({ tables: { jobs } }) => {
      const poisonous = jobs.find(({ call }) => call === (others >> 1) + 1)
      const done = jobs.filter((job) => job !== poisonous && job.state === 'succeeded')
      stage.say(`it failed with: ${poisonous?.message}`)
      const isUnderstood = /silent.*crashed.*3 of 3 attempts/.test(poisonous?.message ?? '')
      return {
        figures: {
          deaths: deaths.length,
          othersDone: done.length,
          mostAttemptsOfOthers: Math.max(...done.map(({ attempt }) => attempt)),
          rerun: done.filter(({ attempt }) => attempt > 1).length,
        },
        failures: [
          ...expectThat(deaths.length === ATTEMPTS, `${deaths.length} processes died, not ${ATTEMPTS}`),
          ...expectThat(poisonous?.state === 'failed', `the job that kills is ${poisonous?.state}`),
          ...expectThat(isUnderstood, `its reason is ${JSON.stringify(poisonous?.message)}`),
          ...expectThat(done.length === others, `${done.length} of the ${others} others were done`),
        ],
      }
    }
  },
}

/** A process like any that a supervisor keeps up. */
function keepRunner(stage: Stage, url: string, died: () => void): Started {
  const runner = stage.startRunner(url, { slots: 5, mayEnd: [POISONED], ...POLICY })
  void runner.exited.then(() => {
    if (runner.process.exitCode !== POISONED) return
    died()
    stage.fault('a function ended its process')
    keepRunner(stage, url, died)
  })
  return runner
}
