// The claim of a poll: join the bell, look, wait, look.
import { dueOf } from '../bell/bell.ts'
import { claimJobs } from '../jobs/claim.ts'
import type { RunnerRef } from '../jobs/claimed.ts'
import { giveBackJobs } from '../jobs/give-back.ts'
import { MAX_CLAIM_BYTES } from '../protocol/limits.ts'
import type { ClaimedJob, ClaimRequest } from '../protocol/runners.ts'
import type { Plane, Principal } from './context.ts'
import { maintainNowAndThen } from './maintenance.ts'

/** Under which a claim is kept: who sends the same id with another key, or for another runner, does not get its jobs. */
export async function claimIdOf(
  { sha256 }: Plane,
  { keyId }: Principal,
  runner: string,
  claimId: string,
): Promise<string> {
  const text = new TextEncoder().encode(`${keyId} ${runner} ${claimId}`)
  const digest = await sha256(text)
  const hex = Array.from(digest.subarray(0, 16), (byte) => byte.toString(16).padStart(2, '0')).join('')
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
}

/** While all that is due was told to somebody, a poll looks after so long: for what a writer that died told nobody. */
const PUT_OFF_MS = 500

/**
 * Rings that brought nothing, since another was quicker; then the runner is to poll anew. Each takes a look and another
 * socket to the bell, of which a request on Cloudflare's free plan has fifty together.
 */
const MAX_LOST_RINGS = 10

const NOTHING = { jobs: [], leftOver: [] }

/** What a look would look for, as one text. */
function kindOf(namespace: string, { services }: ClaimRequest): string {
  return JSON.stringify([namespace, services.map(({ name, functions }) => [name, functions])])
}

/** When a poll's look for jobs ends: as nobody would hear of them any more, or already as its runner is in a hurry. */
export interface Ends {
  isGone: AbortSignal
  /** Default: `isGone`. */
  ends?: AbortSignal
}

/** Join, look, wait, look: until there are jobs, the time is over, the runner is in a hurry, or it is gone. */
export async function takeJobs(
  plane: Plane,
  runner: RunnerRef,
  claim: ClaimRequest,
  { isGone, ends = isGone }: Ends,
): Promise<ClaimedJob[]> {
  const untilMs = performance.now() + claim.waitMs
  const interest = {
    namespace: runner.namespace,
    claimId: claim.id,
    services: claim.services.map(({ name }) => name),
    kind: kindOf(runner.namespace, claim),
  }
  let wasRung = false
  let isFirst = true
  let rings = 0
  for (;;) {
    const waiter = await plane.bell.join(interest)
    let isUnheard = false
    try {
      await plane.handover?.settled(claim.id)
      // What it took now would have to be given back, which happens to a job a few times only.
      if (isGone.aborted) return []
      // Who was rung looks, whatever is known: a delayed job that has become due is no commit.
      const isQuiet = waiter.isQuiet && !wasRung
      const isPutOff = isFirst && waiter.isCalm && claim.waitMs > PUT_OFF_MS
      isFirst = false
      const { jobs, leftOver } =
        isQuiet || isPutOff
          ? NOTHING
          : await claimJobs(plane.sql, runner, {
              claimId: claim.id,
              services: claim.services,
              maxBytes: MAX_CLAIM_BYTES,
            })
      const due = leftOver.map((service) => ({ service, jobs: 1 }))
      if (due.length > 0) await plane.bell.ring({ namespace: runner.namespace, due })
      if (jobs.length > 0) return await deliver(plane, runner.namespace, jobs, isGone)
      if (!isQuiet && !isPutOff) waiter.foundNothing()
      await maintainNowAndThen(plane, { isQuiet })
      const leftMs = untilMs - performance.now()
      if (leftMs <= 0 || ends.aborted || rings === MAX_LOST_RINGS) return []
      const offer = waiter.handed === undefined ? undefined : plane.handover?.open(runner, claim, waiter.handed)
      const lookInMs = isPutOff && !isQuiet ? PUT_OFF_MS : plane.bell.lookEveryMs
      const wake = await waiter.woken(Math.min(leftMs, lookInMs), ends)
      isUnheard = wake.why === 'rung'
      const handed = (await offer?.close()) ?? []
      if (handed.length > 0) return await deliver(plane, runner.namespace, handed, isGone)
      if (wake.why === 'replaced' || ends.aborted) return []
      wasRung = wake.why === 'rung' || wake.why === 'handed'
      if (wasRung) rings++
      isUnheard = false
    } finally {
      waiter.leave(isUnheard)
    }
  }
}

/** The jobs as they leave; none where the runner has gone. */
async function deliver(
  plane: Plane,
  namespace: string,
  jobs: ClaimedJob[],
  isGone: AbortSignal,
): Promise<ClaimedJob[]> {
  plane.metrics.count('callplane_jobs_claimed_total', {}, jobs.length)
  await plane.bell.arm(namespace)
  await plane.bell.alarm(Math.min(...jobs.map((job) => job.leaseMs)))
  if (!isGone.aborted) return jobs
  await giveBack(plane, namespace, jobs)
  return []
}

/** Nobody listens any more, and nothing was said yet: the jobs go to another at once. */
async function giveBack(plane: Plane, namespace: string, jobs: readonly ClaimedJob[]): Promise<void> {
  const givenBack = await giveBackJobs(plane.sql, namespace, jobs)
  plane.metrics.count('callplane_jobs_given_back_total', {}, givenBack.length)
  await plane.bell.ring({ namespace, due: dueOf(givenBack.map(({ service }) => ({ service, inMs: 0 }))) })
}
