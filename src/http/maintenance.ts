// The sweep as the hosts run it: move what time has moved, count it, ring for it.
import { dueOf } from '../bell/bell.ts'
import { findOverdueNamespaces } from '../jobs/overdue.ts'
import type { Moved } from '../jobs/moved.ts'
import { sweep } from '../jobs/sweep.ts'
import type { Plane } from './context.ts'

/** Polls start the sweep where their process has not for so long: it needs neither an alarm nor a timer then. */
const SWEPT_WITHIN_MS = 10_000
/** While all is quiet they only ask the bell whether what was seen coming has come, which on Cloudflare is a request. */
const QUIET_WITHIN_MS = 60_000
/** Delayed jobs that became due before a process first swept, or while it could not: so long somebody may wait unheard. */
const MAX_SINCE_MS = 60_000
/** A job that became due while the last sweep looked may have been seen by none. */
const OVERLAP_MS = 1_000
/** Bells that are armed at once. One that does not answer keeps its place for a second. */
const ARMED_AT_ONCE = 25
/** What was passed over is tried again so much later. */
const PASSED_OVER_AGAIN_MS = 5_000

/** One turn of the sweep over all namespaces. Returns in how many milliseconds the next is wanted; null: nothing known. */
export async function maintain(plane: Plane): Promise<number | null> {
  try {
    return await sweepOnce(plane)
  } catch (error) {
    plane.sweeps.outage.failed()
    throw error
  }
}

async function sweepOnce(plane: Plane): Promise<number | null> {
  const nowMs = performance.now()
  const sinceMs = Math.round(Math.min(Math.max(0, nowMs - plane.sweeps.toldAtMs), MAX_SINCE_MS)) + OVERLAP_MS
  plane.sweeps.lastAtMs = nowMs
  let passedOver: readonly string[] = []
  const begin = async () => (passedOver = await armOverdue(plane, { sinceMs }))
  const graceMs = () => plane.sweeps.outage.answered()
  const turn = sweep(plane.sql, { retentionMs: plane.retentionMs, sinceMs, begin, graceMs })
  for (;;) {
    const { done, value } = await turn.next()
    if (done === true) {
      // Not swept then, and not all told: whoever sweeps next begins with these.
      if (passedOver.length > 0) return Math.min(value ?? PASSED_OVER_AGAIN_MS, PASSED_OVER_AGAIN_MS)
      plane.sweeps.toldAtMs = nowMs
      await plane.bell.swept(performance.now() - nowMs, value)
      return value
    }
    for (const [namespace, jobs] of Map.groupBy(value, (job) => job.namespace)) await tell(plane, namespace, jobs)
  }
}

/**
 * Arms the bells of what the sweep is about to move. Returns the namespaces whose bells refused: nothing may be committed
 * there, which is no reason to leave the jobs of the others.
 */
async function armOverdue(plane: Plane, { sinceMs }: { sinceMs: number }): Promise<string[]> {
  const refused: { namespace: string; error: unknown }[] = []
  const namespaces = (await findOverdueNamespaces(plane.sql, { sinceMs })).values()
  const armOneByOne = async () => {
    // Each takes the next that nobody has taken.
    for (const namespace of namespaces) {
      try {
        await plane.bell.arm(namespace)
      } catch (error) {
        refused.push({ namespace, error })
      }
    }
  }
  await Promise.all(Array.from({ length: ARMED_AT_ONCE }, armOneByOne))
  const [first] = refused
  if (first !== undefined) {
    const { namespace, error } = first
    plane.metrics.count('callplane_namespaces_passed_over_total', {}, refused.length)
    // One line for all: where nothing answers they are many, and again at the next sweep.
    plane.log({
      level: 'error',
      event: 'sweep_passed_over',
      namespaces: refused.length,
      namespace,
      detail: String(error),
    })
  }
  return refused.map(({ namespace }) => namespace)
}

/** The same from a timer, a cron trigger or a poll: only where something was written since the last, and setting the alarm. */
export async function maintainAndArm(plane: Plane): Promise<void> {
  if (await plane.bell.isSwept()) return
  const nextMs = await maintain(plane)
  if (nextMs !== null) await plane.bell.alarm(nextMs)
}

/** The same from a poll, which does not fail for it. */
export async function maintainNowAndThen(plane: Plane, { isQuiet }: { isQuiet: boolean }): Promise<void> {
  const { sweeps } = plane
  const nowMs = performance.now()
  if (nowMs - Math.max(sweeps.lastAtMs, sweeps.askedAtMs) < (isQuiet ? QUIET_WITHIN_MS : SWEPT_WITHIN_MS)) return
  sweeps.askedAtMs = nowMs
  try {
    await maintainAndArm(plane)
  } catch (error) {
    plane.log({ level: 'warn', event: 'sweep_failed', detail: String(error) })
  }
}

async function tell(plane: Plane, namespace: string, jobs: readonly Moved[]): Promise<void> {
  const { pending = [], failed = [], due = [] } = Object.groupBy(jobs, (job) => job.state)
  plane.metrics.count('callplane_jobs_swept_total', { to: 'pending' }, pending.length)
  plane.metrics.count('callplane_jobs_swept_total', { to: 'failed' }, failed.length)
  if (pending.length + failed.length > 0) {
    plane.log({ level: 'info', event: 'swept', namespace, retried: pending.length, failed: failed.length })
  }
  await plane.bell.ring({
    namespace,
    due: dueOf([...pending, ...due].map(({ service, due_in_ms }) => ({ service, inMs: due_in_ms }))),
    ended: failed.map(({ id }) => ({ id, outcome: null })),
  })
}
