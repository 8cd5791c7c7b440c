// The sweep: what time alone does to jobs. One bounded statement per duty, safe to run many at once.
import type { Sql } from '../db/sql.ts'
import { findJustDue } from './due.ts'
import { expireJobs } from './expire.ts'
import type { Moved } from './moved.ts'
import { findNextDuties } from './overdue.ts'
import { forgetEvents, forgetJobs, forgetRunners } from './forget.ts'
import { retryStalledJobs } from './stall.ts'

/** Bounds the locks that one statement takes; what is left over is the next statement's. */
const LIMIT = 500
/** After their job is gone, for who watches and was away: a client that comes back after longer begins anew. */
const EVENTS_KEPT_MS = 3_600_000
/** More than the runners that wait: each ring wakes one for one job, and who takes some sees the others. */
const MAX_TOLD = 1_000

export interface SweepOptions {
  /** How long jobs are kept after their end. */
  retentionMs: number
  /** Delayed jobs that became due within this time are told of. Default 0: none. */
  sinceMs?: number
  /** Statements of one duty. Default 20. */
  rounds?: number
  /**
   * Runs before the first of them that changes anything. The namespaces that it returns are passed over: nothing of theirs is
   * moved or told of, or counts as something to do again. What has ended there is forgotten all the same.
   */
  begin?: () => Promise<readonly string[]>
  /** Asked once the database has answered: for how many milliseconds leases that ran out are spared. Default 0. */
  graceMs?: () => number
}

/**
 * Looks what is overdue, runs those duties until nothing is left of them, and yields the jobs that each statement moved
 * or found due, as soon as it has. Where nothing is overdue the look is its only statement. Returns in how many
 * milliseconds there is something to do again; null where nothing is known. Rules over all namespaces.
 */
export async function* sweep(
  sql: Sql,
  { retentionMs, sinceMs = 0, rounds = 20, begin, graceMs = () => 0 }: SweepOptions,
): AsyncGenerator<Moved[], number | null> {
  const eventsKeptMs = EVENTS_KEPT_MS
  const due = await findNextDuties(sql, { retentionMs, eventsKeptMs, sinceMs })
  const spareMs = graceMs()
  if (isDue(due.lease) && spareMs > 0) due.lease = spareMs
  const hasWork = Object.values(due).some(isDue)
  const except = hasWork && begin !== undefined ? await begin() : []
  if (isDue(due.deadline)) yield* untilDone(() => expireJobs(sql, { limit: LIMIT, except }), rounds)
  if (isDue(due.lease)) yield* untilDone(() => retryStalledJobs(sql, { limit: LIMIT, except }), rounds)
  if (isDue(due.delay)) {
    const justDue = await findJustDue(sql, { sinceMs, limit: MAX_TOLD, except })
    if (justDue.length > 0) yield justDue
  }
  if (isDue(due.retention)) {
    for (let round = 0; round < rounds; round++) {
      if ((await forgetJobs(sql, { retentionMs, limit: LIMIT })) < LIMIT) break
    }
    await forgetRunners(sql, { retentionMs, limit: LIMIT })
  }
  if (isDue(due.events)) {
    for (let round = 0; round < rounds; round++) {
      if ((await forgetEvents(sql, { keptMs: eventsKeptMs, limit: LIMIT })) < LIMIT) break
    }
  }
  if (!hasWork) return earliest(due)
  const next = await findNextDuties(sql, { retentionMs, eventsKeptMs, sinceMs: 0, except })
  return earliest(isDue(next.lease) && spareMs > 0 ? { ...next, lease: spareMs } : next)
}

async function* untilDone(duty: () => Promise<Moved[]>, rounds: number): AsyncGenerator<Moved[]> {
  for (let round = 0; round < rounds; round++) {
    const moved = await duty()
    if (moved.length > 0) yield moved
    if (moved.length < LIMIT) return
  }
}

function isDue(inMs: number | null): boolean {
  return inMs !== null && inMs <= 0
}

function earliest(next: Record<string, number | null>): number | null {
  const known = Object.values(next).filter((inMs) => inMs !== null)
  return known.length === 0 ? null : Math.max(0, Math.min(...known))
}
