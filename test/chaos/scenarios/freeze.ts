// Runners stop in the middle of their jobs for longer than their leases, and come back with results that nobody wants.
import { expectThat, type Scenario } from '../scenario.ts'
import { pause, type Stage } from '../stage.ts'

const RUNNERS = 4
const POLICY = { attempts: 10, leaseMs: 1_000 }
/** Shorter than a lease, so that it ends while the process is frozen, and reports as soon as that one is thawed. */
const WORK_MS = 700

export const freeze: Scenario = {
  name: 'freeze',
  about: 'runners frozen past their leases; thawed when others, or they themselves, have the jobs again',

  async play(stage) {
    const { url } = await stage.startPlane()
    const others = await frozenElsewhere(stage, url)
    const own = await frozenAndReclaimed(stage, url)
    return ({ tables }) => ({
      figures: {
        lateRefused: others.refused,
        ofFrozen: others.jobs,
        sameRunnerRefused: own.refused,
        ofSameRunner: own.jobs,
        overwritten: tables.jobs.filter(({ fence, resultFence }) => fence !== resultFence).length,
      },
      failures: [
        ...expectThat(others.refused === others.jobs, `${others.refused} of ${others.jobs} late results were refused`),
        ...expectThat(own.refused === own.jobs, `${own.refused} of ${own.jobs} of the same runner were refused`),
      ],
    })
  },
}

interface Refused {
  jobs: number
  refused: number
}

/** The frozen jobs end on other runners; then the frozen ones are thawed. */
async function frozenElsewhere(stage: Stage, url: string): Promise<Refused> {
  const each = stage.size(250, 12)
  const frozen = Array.from({ length: RUNNERS }, () => stage.startRunner(url, { slots: each, ...POLICY }))
  await Promise.all(frozen.map((runner) => runner.says(/serving/)))
  const refusedBefore = await refusals(stage, url)
  const jobs = each * RUNNERS
  await stage.caller(url).batch('work', jobs, WORK_MS)
  await begun(stage, jobs)
  for (const runner of frozen) runner.process.kill('SIGSTOP')
  stage.fault(`${RUNNERS} runners frozen`)
  const others = Array.from({ length: RUNNERS }, () => stage.startRunner(url, { slots: each, ...POLICY }))
  await stage.settled(60_000)
  stage.say(`${jobs} jobs were frozen and ended elsewhere`)
  for (const runner of frozen) runner.process.kill('SIGCONT')
  stage.fault(`${RUNNERS} runners thawed`)
  const refused = await refusedUpTo(stage, url, refusedBefore, jobs)
  await Promise.all([...frozen, ...others].map((runner) => runner.end('SIGKILL')))
  return { jobs, refused }
}

/** One runner alone: thawed, it is given its own jobs again, under other tokens. */
async function frozenAndReclaimed(stage: Stage, url: string): Promise<Refused> {
  const jobs = stage.size(500, 25)
  const runner = stage.startRunner(url, { slots: jobs, ...POLICY })
  await runner.says(/serving/)
  const refusedBefore = await refusals(stage, url)
  const begunBefore = executions(stage)
  await stage.caller(url).batch('work', jobs, WORK_MS)
  await begun(stage, begunBefore + jobs)
  runner.process.kill('SIGSTOP')
  stage.fault('the only runner frozen')
  while ((await running(stage)) > 0) await pause(50)
  runner.process.kill('SIGCONT')
  stage.fault('the only runner thawed')
  await stage.settled(60_000)
  const refused = await refusedUpTo(stage, url, refusedBefore, jobs)
  stage.say(`${jobs} jobs were frozen and ended at the same runner`)
  return { jobs, refused }
}

const refusals = (stage: Stage, url: string) => stage.counter(url, 'callplane_reports_refused_total')

function executions(stage: Stage): number {
  return stage.history.read().filter(({ kind }) => kind === 'execution').length
}

async function begun(stage: Stage, count: number): Promise<void> {
  const untilMs = performance.now() + 30_000
  while (executions(stage) < count && performance.now() < untilMs) await pause(20)
}

async function running(stage: Stage): Promise<number> {
  const [row] = await stage.sql<{ count: number }>(
    `select count(*) as count from callplane.jobs where state = 'running'`,
  )
  return row?.count ?? 0
}

/** The late reports take a moment to come. */
async function refusedUpTo(stage: Stage, url: string, before: number, wanted: number): Promise<number> {
  const untilMs = performance.now() + 10_000
  for (;;) {
    const refused = (await refusals(stage, url)) - before
    if (refused >= wanted || performance.now() > untilMs) return refused
    await pause(50)
  }
}
