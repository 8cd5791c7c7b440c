// /v1/runners: join, poll (report + heartbeat + claim), leave.
import { Hono } from 'hono'
import { dueOf, type EndedCall } from '../bell/bell.ts'
import type { Verdict } from '../jobs/lease.ts'
import { leaveRunner, registerRunner, seeRunner } from '../jobs/register.ts'
import { CallplaneError, toWireError } from '../protocol/errors.ts'
import type { CallOutcome } from '../protocol/job.ts'
import { leaveRunnerRequest, pollRequest, registerRunnerRequest } from '../protocol/runners.ts'
import type { Report } from '../protocol/runners.ts'
import { msgpack } from './answer.ts'
import { authorize } from './auth.ts'
import { readMsgpack } from './body.ts'
import type { HttpEnv, Plane } from './context.ts'
import { maintainNowAndThen } from './maintenance.ts'
import { presence } from './presence.ts'
import { claimIdOf, takeJobs, type Ends } from './take-jobs.ts'

export function runnerRoutes(plane: Plane): Hono<HttpEnv> {
  const app = new Hono<HttpEnv>()
  const isSeenAnew = presence()

  app.post('/register', async (c) => {
    const runner = await readMsgpack(c, registerRunnerRequest)
    const principal = c.get('principal')
    authorize(
      principal,
      'serve',
      runner.services.map((service) => service.name),
    )
    refuseTwins(runner.services)
    await registerRunner(plane.sql, principal.namespace, runner)
    isSeenAnew(principal.namespace, runner.runner)
    return msgpack(c, { namespace: principal.namespace })
  })

  app.post('/poll', async (c) => {
    const { runner, reports = [], heartbeats = [], claim } = await readMsgpack(c, pollRequest)
    const principal = c.get('principal')
    authorize(
      principal,
      'serve',
      claim?.services.map((service) => service.name),
    )
    const { namespace } = principal
    const isTelling = reports.length + heartbeats.length > 0
    if (isTelling) await plane.bell.arm(namespace)
    const telling = Promise.all([
      applyReports(plane, namespace, reports),
      plane.transitions.heartbeat(namespace, heartbeats),
    ])
    const take = async () => {
      if (claim === undefined) {
        // Where every slot is busy nobody claims, and still somebody must sweep.
        await maintainNowAndThen(plane, { isQuiet: false })
        return []
      }
      const id = await claimIdOf(plane, principal, runner, claim.id)
      const ends = isTelling ? endsOf(c.req.raw.signal, telling) : { isGone: c.req.raw.signal }
      return takeJobs(plane, { namespace, id: runner }, { ...claim, id }, ends)
    }
    // The look for jobs goes beside the reports: neither has anything to do with the other. Where the reports fail, what it
    // took is given back before the request ends.
    const [told, taken] = await Promise.allSettled([telling, take()])
    if (told.status === 'rejected') throw told.reason
    if (taken.status === 'rejected') throw taken.reason
    const [verdicts, renewals] = told.value
    const jobs = taken.value
    if (jobs.length > 0 && isSeenAnew(namespace, runner)) await seeRunner(plane.sql, namespace, runner)
    return msgpack(c, { reports: verdicts.map(verdictAnswer), heartbeats: renewals.map(verdictAnswer), jobs })
  })

  app.post('/leave', async (c) => {
    const { runner } = await readMsgpack(c, leaveRunnerRequest)
    const principal = c.get('principal')
    authorize(principal, 'serve')
    await leaveRunner(plane.sql, principal.namespace, runner)
    return msgpack(c, {})
  })

  return app
}

/**
 * When a look for jobs ends that goes beside reports: with who would hear of the jobs, and sooner if the reports say so.
 * By listeners, since `AbortSignal.any` keeps books of its own on every signal that it follows.
 */
function endsOf(
  signal: AbortSignal,
  telling: Promise<[(CallplaneError | null)[], (CallplaneError | null)[]]>,
): Required<Ends> {
  const [gone, ended] = [new AbortController(), new AbortController()]
  const go = () => {
    gone.abort()
    ended.abort()
  }
  if (signal.aborted) go()
  else signal.addEventListener('abort', go, { once: true })
  telling.then(
    // A refusal is news that the runner must act on: it does not wait behind the claim.
    (told) => told.flat().some((error) => error !== null) && ended.abort(),
    go,
  )
  return { isGone: gone.signal, ends: ended.signal }
}

function verdictAnswer(error: CallplaneError | null) {
  return error === null ? {} : { error: toWireError(error) }
}

function refuseTwins(services: readonly { name: string; functions: readonly { name: string }[] }[]): void {
  // With a space between, which no name has: names may have dots.
  const names = services.flatMap((service) => service.functions.map(({ name }) => `${service.name} ${name}`))
  const seen = new Set<string>()
  const twin = names.find((name) => seen.size === seen.add(name).size)?.replace(' ', '.')
  if (twin !== undefined) throw new CallplaneError('invalid_request', `${twin} stands twice in the registration`)
}

/** Ends the attempts that the reports tell of and wakes their callers. Null for each report that was applied. */
async function applyReports(
  plane: Plane,
  namespace: string,
  reports: readonly Report[],
): Promise<(CallplaneError | null)[]> {
  if (reports.length === 0) return []
  const succeeded = reports.filter((report) => report.ended === 'succeeded')
  const threw = reports.filter((report) => report.ended === 'threw')
  const [completions, failures] = await Promise.all([
    plane.transitions.complete(namespace, succeeded),
    plane.transitions.fail(namespace, threw),
  ])
  const outcomes = new Map<string, CallOutcome>()
  for (const { token, result } of succeeded) outcomes.set(token, { ended: 'succeeded', result })
  for (const { token, error } of threw) outcomes.set(token, { ended: 'threw', error })
  const verdicts = new Map<string, Verdict>()
  for (const [index, { token }] of succeeded.entries()) setVerdict(verdicts, token, completions[index])
  for (const [index, { token }] of threw.entries()) setVerdict(verdicts, token, failures[index])

  const ended: EndedCall[] = []
  const again: { service: string; inMs: number }[] = []
  for (const { id, token } of reports) {
    const verdict = verdicts.get(token)
    if (verdict === undefined || 'error' in verdict) {
      plane.metrics.count('callplane_reports_refused_total')
      continue
    }
    // Repeats are rung for too: the first may have died between its commit and its ring.
    if (verdict.state === 'pending') again.push({ service: verdict.service, inMs: verdict.dueInMs })
    else ended.push({ id, outcome: isAsReported(verdict) ? (outcomes.get(token) ?? null) : null })
    if (verdict.isFirst && verdict.state !== 'pending') {
      plane.metrics.count('callplane_jobs_ended_total', { how: verdict.state })
    }
  }
  await plane.bell.ring({ namespace, due: dueOf(again), ended })
  return reports.map(({ token }) => {
    const verdict = verdicts.get(token)
    return verdict !== undefined && 'error' in verdict ? verdict.error : null
  })
}

/** Whether the job ended as the report says, so that the report tells its outcome. */
function isAsReported(verdict: Verdict): boolean {
  return 'isFirst' in verdict && verdict.isFirst && !('isTimedOut' in verdict && verdict.isTimedOut)
}

function setVerdict(verdicts: Map<string, Verdict>, token: string, verdict: Verdict | undefined): void {
  if (verdict !== undefined) verdicts.set(token, verdict)
}
