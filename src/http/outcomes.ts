// Waiting for calls to end: join the bell, look, wait, look.
import type { Waiter } from '../bell/bell.ts'
import { findOutcomes, type Reach } from '../jobs/find.ts'
import type { CallOutcome } from '../protocol/job.ts'
import { MAX_CLAIM_BYTES } from '../protocol/limits.ts'
import type { Plane } from './context.ts'

/** A call that ended, or (`null`) one that the reader cannot see. */
export interface Ended {
  id: string
  outcome: CallOutcome | null
}

/** Rings that carry no outcomes lead to looks this far apart, where several calls are waited for. */
const LOOKS_APART_MS = 500

/**
 * So many looks, and whoever still waits must ask again: each is a statement, and a request on Cloudflare's free plan has
 * fifty of them and of calls to the bell together. Else many ends one by one, or results beyond one answer, would take more.
 */
const MAX_LOOKS = 40

/** Without another process's rings, looks come this soon at first, then ever more seldom. */
const FIRST_LOOK_MS = 50

/**
 * Yields the calls as they end, those together that end together, until all have, the time is over or the signal aborts.
 * The waiter must have been joined before the calls were made or looked at. `isNew`: they were made just now, so that the
 * first look can wait.
 */
export async function* outcomes(
  plane: Plane,
  reach: Reach,
  ids: readonly string[],
  { waiter, waitMs, signal, isNew }: { waiter: Waiter; waitMs: number; signal: AbortSignal; isNew: boolean },
): AsyncGenerator<Ended[]> {
  const open = new Set(ids)
  const untilMs = performance.now() + waitMs
  let lookInMs = isNew ? 2 * FIRST_LOOK_MS : FIRST_LOOK_MS
  const nextLookAtMs = () => {
    if (!Number.isFinite(plane.bell.lookEveryMs)) return untilMs
    return performance.now() + Math.min(lookInMs, plane.bell.lookEveryMs)
  }
  let mustLook = !isNew
  let lookedAtMs = -Infinity
  let lookAtMs = nextLookAtMs()
  for (let looks = 0; open.size > 0;) {
    if (mustLook || performance.now() >= lookAtMs) {
      if (looks++ === MAX_LOOKS) return
      lookedAtMs = performance.now()
      const { found, isCut } = await findOutcomes(plane.sql, reach, [...open], { maxBytes: MAX_CLAIM_BYTES })
      const ended = [...open].flatMap((id): Ended[] => {
        const outcome = found.get(id)
        return outcome === null ? [] : [{ id, outcome: outcome ?? null }]
      })
      for (const { id } of ended) open.delete(id)
      if (ended.length > 0) yield ended
      if (open.size === 0) return
      if (isCut) continue
      lookAtMs = nextLookAtMs()
      lookInMs *= 2
    }
    const leftMs = untilMs - performance.now()
    if (leftMs <= 0 || signal.aborted) return
    // Rings do not put off the look: with some calls ending here all the time, those that end at another process would
    // never be looked for.
    const wake = await waiter.woken(Math.min(leftMs, lookAtMs - performance.now()), signal)
    if (wake.why === 'replaced') return
    // A wait that ended by time ends with a look, since a ring may have been lost; so does a ring without the outcomes.
    mustLook = wake.why !== 'rung' || wake.ended.length === 0
    if (wake.why !== 'rung') continue
    // Calls that end one by one are looked for together: each look is a statement.
    const pauseMs = wake.ended.length === 0 && open.size > 1 ? lookedAtMs + LOOKS_APART_MS - performance.now() : 0
    if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs))
    mustLook ||= wake.ended.some(({ outcome }) => outcome === null)
    const told = wake.ended.filter(({ id, outcome }) => outcome !== null && open.delete(id))
    if (told.length > 0) yield told
  }
}
