// Runners stop in the middle of their jobs for longer than their leases, and come back with results that nobody wants.
import type { Started } from '../processes.ts'
import { expectThat, type Scenario } from '../scenario.ts'
import { pause, type Stage } from '../stage.ts'

const RUNNERS = 4
const POLICY = { attempts: 10, leaseMs: 1_000 }
/** Over when the process goes on, and reported before it hears that its lease is lost. */
const SHORT_MS = 700
/** Long enough for another runner to be at it when the result of the frozen one comes. */
const LONG_MS = 3_000

export const freeze: Scenario = {
  name: 'freeze',
  about: 'runners frozen past their leases; thawed when others have ended their jobs, run them, or they themselves do',

  async play(stage) {
    const { url } = await stage.startPlane()
    const ended = await frozenElsewhere(stage, url, { ms: SHORT_MS, isEnded: true })
    const running = await frozenElsewhere(stage, url, { ms: LONG_MS, isEnded: false })
    const own = await frozenAndReclaimed(stage, url)
    const late = (rounds: Refused[]) => rounds.reduce((sum, { refused }) => sum + refused, 0)
    const frozen = (rounds: Refused[]) => rounds.reduce((sum, { jobs }) => sum + jobs, 0)
    return ({ tables }) => ({
      figures: {
        lateRefused: late([ended, running]),
        ofFrozen: frozen([ended, running]),
        sameRunnerRefused: own.refused,
        ofSameRunner: own.jobs,
        overwritten: tables.jobs.filter(({ fence, resultFence }) => fence !== resultFence).length,
      },
      failures: [ended, running, own].flatMap(({ when, jobs, refused }) =>
        expectThat(refused === jobs, `${refused} of ${jobs} late results were refused ${when}`),
      ),
    })
  },
}

interface Refused {
  when: string
  jobs: number
  refused: number
}

/** Others take the jobs of the frozen runners, and have ended them or not when those are thawed. */
async function frozenElsewhere(
  stage: Stage,
  url: string,
  { ms, isEnded }: { ms: number; isEnded: boolean },
): Promise<Refused> {
  const each = stage.size(125, 6)
  const jobs = each * RUNNERS
  const start = () => stage.startRunner(url, { slots: each, ...POLICY })
  const frozen = await serving(Array.from({ length: RUNNERS }, start))
  const refusedBefore = await refusals(stage, url)
  const begunBefore = executions(stage)
  await stage.caller(url).batch('work', jobs, ms)
  await until(() => executions(stage) >= begunBefore + jobs)
  const frozenAtMs = performance.now()
  for (const runner of frozen) runner.process.kill('SIGSTOP')
  stage.fault(`${RUNNERS} runners frozen`)
  const others = Array.from({ length: RUNNERS }, start)
  if (isEnded) await stage.settled(60_000)
  else {
    await until(() => executions(stage) >= begunBefore + 2 * jobs)
    await until(() => performance.now() > frozenAtMs + ms)
  }
  for (const runner of frozen) runner.process.kill('SIGCONT')
  stage.fault(`${RUNNERS} runners thawed`)
  const refused = await refusedUpTo(stage, url, refusedBefore, jobs)
  await stage.settled(60_000)
  await Promise.all([...frozen, ...others].map((runner) => runner.end('SIGKILL')))
  const when = isEnded ? 'when others had ended their jobs' : 'while others ran their jobs'
  stage.say(`${jobs} jobs were frozen, and thawed ${when}`)
  return { when, jobs, refused }
}

/** One runner alone: a poll of its own, open all the while, is given its jobs again, under other tokens. */
async function frozenAndReclaimed(stage: Stage, url: string): Promise<Refused> {
  const jobs = stage.size(500, 25)
  const [runner] = await serving([stage.startRunner(url, { slots: 2 * jobs, ...POLICY })])
  const refusedBefore = await refusals(stage, url)
  const begunBefore = executions(stage)
  await stage.caller(url).batch('work', jobs, SHORT_MS)
  await until(() => executions(stage) >= begunBefore + jobs)
  // Its next poll goes out a moment after the jobs have begun.
  await pause(150)
  runner?.process.kill('SIGSTOP')
  stage.fault('the only runner frozen')
  await until(() => isClaimedAgain(stage))
  runner?.process.kill('SIGCONT')
  stage.fault('the only runner thawed')
  const refused = await refusedUpTo(stage, url, refusedBefore, jobs)
  await stage.settled(60_000)
  stage.say(`${jobs} jobs were frozen, and thawed when the same runner had them again`)
  return { when: 'by the runner that had its jobs again', jobs, refused }
}

async function serving(runners: Started[]): Promise<Started[]> {
  await Promise.all(runners.map((runner) => runner.says(/serving/)))
  return runners
}

const refusals = (stage: Stage, url: string) => stage.counter(url, 'callplane_reports_refused_total')

function executions(stage: Stage): number {
  return stage.history.read().filter(({ kind }) => kind === 'execution').length
}

/** Whether the poll of the frozen runner was given what its leases had left. */
async function isClaimedAgain(stage: Stage): Promise<boolean> {
  const [{ first, again } = { first: 0, again: 0 }] = await stage.sql<{ first: number; again: number }>(
    `select count(*) filter (where attempt = 1) as first, count(*) filter (where attempt = 2) as again
    from callplane.jobs where state = 'running'`,
  )
  return first === 0 && again > 0
}

/** Or half a minute: what then is not so shows in what follows. */
async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  const untilMs = performance.now() + 30_000
  while (!(await isSo()) && performance.now() < untilMs) await pause(20)
}

/** The late reports take a moment to come. */
async function refusedUpTo(stage: Stage, url: string, before: number, wanted: number): Promise<number> {
  const refusedNow = async () => (await refusals(stage, url)) - before
  await until(async () => (await refusedNow()) >= wanted)
  return refusedNow()
}
