// The bell: what wakes a waiting poll. It says "look now"; the database stays the truth.
//
//   poll                       bell                      writer
//    │── join(interest) ────────▶│                          │
//    │── look in the database ───┼──────────▶ (nothing)     │
//    │── woken(maxMs) ──────────▶│                          │── commit
//    │                           │◀──────── ring(…) ────────│
//    │◀─── 'rung' ───────────────│                          │
//    │── look in the database    │                          │
//
// Joining before looking, and ringing after the commit, is what keeps a wake-up from falling between the two. A ring
// that is lost all the same costs at most one poll.
//
// Who was rung joins again, looks, and is done with it within a second: it found nothing, or leaves. Else the ring passes on
// to the next who waits for the service: the first may be dead, or its look hangs. Both may look then, and the database
// decides who gets the job: what passed on costs a spare look, and nothing more.
//
// Idle is free: a bell may be quiet, and then nobody looks. A writer arms it before its first commit, for a minute, and
// again while it goes on writing. When no arm is live, nothing can have been committed since the last one ran out: what a
// look has seen after that is still so. A writer that dies between its commit and its ring has armed the bell all the
// same, so that a look follows when the arm runs out. Lost memory and lost connections count as an arm.
import type { CallOutcome } from '../protocol/job.ts'

/**
 * What a poll waits for, in one namespace: jobs of these services, or the ends of these calls. `kind` names what a look for
 * jobs looks for: what one of a kind does not find, another does not either.
 */
export type Interest =
  | { namespace: string; claimId: string; services: readonly string[]; kind: string }
  | { namespace: string; calls: readonly string[] }

/** A call that ended, with a copy of the committed outcome where the writer has it at hand. */
export interface EndedCall {
  id: string
  outcome: CallOutcome | null
}

/** Jobs of a service that can be claimed in so many milliseconds. Default: now. */
export interface Due {
  service: string
  jobs: number
  inMs?: number
}

/** Many jobs as few entries: those of a service that are due now are one. */
export function dueOf(jobs: readonly { service: string; inMs: number }[]): Due[] {
  const later = jobs.filter(({ inMs }) => inMs > 0).map(({ service, inMs }) => ({ service, jobs: 1, inMs }))
  const now = Map.groupBy(
    jobs.filter(({ inMs }) => inMs <= 0),
    ({ service }) => service,
  )
  return [...later, ...Array.from(now, ([service, of]) => ({ service, jobs: of.length }))]
}

/** What was committed: so many new jobs due in so long, or calls that ended. */
export interface Ring {
  namespace: string
  due?: readonly Due[]
  ended?: readonly EndedCall[]
}

/**
 * Why a wait ended: rung (for these calls; without any, the waiter looks for itself), something was put into its hands, the
 * time was over, or another poll with the same claim id took its place.
 */
export type Wake = { why: 'rung'; ended: readonly EndedCall[] } | { why: 'handed' | 'time' | 'replaced' }

export interface Waiter {
  /** Nothing can have come since a look of this kind found nothing: there is no need to look. */
  readonly isQuiet: boolean
  /** As far as is known, somebody looks for all that is due: a look can wait for a moment. */
  readonly isCalm: boolean
  /** A look that began after joining found nothing. One that found jobs ends by leaving. */
  foundNothing(): void
  /** Waits for a ring since `join`; a ring that came while nobody waited is not lost. `signal` ends it as time does. */
  woken(maxMs: number, signal?: AbortSignal): Promise<Wake>
  /** `isUnheard`: its wait was rung, and it will not look for that: the ring is for the next in line. */
  leave(isUnheard?: boolean): void
  /** Ends its wait, or its next: it was handed something. There where writers share its memory. */
  handed?: () => void
}

export interface Bell {
  /** From here on, rings are kept for the waiter. Join before looking. */
  join(interest: Interest): Promise<Waiter>
  /** After the commit. Never throws: what it cannot wake is found by the next look. */
  ring(ring: Ring): Promise<void>
  /**
   * The sweep is to run in so many milliseconds, if it does not sooner. Never throws: what is overdue all the same is found
   * by the timer, the cron trigger or a poll.
   */
  alarm(inMs: number): Promise<void>
  /** Before a commit in the namespace. Throws where the bell cannot be told: then the commit must not be. */
  arm(namespace: string): Promise<void>
  /** Whether nothing can have been committed in the namespace since then, in the terms of `performance.now()`. */
  isQuietSince(namespace: string, atMs: number): Promise<boolean>
  /** Whether a sweep has begun since the last arm of any namespace ran out, and what it saw coming has not come yet. */
  isSwept(): Promise<boolean>
  /** A sweep that began so long ago has looked, and wants the next in `nextMs`; null: it saw nothing coming. */
  swept(agoMs: number, nextMs: number | null): Promise<void>
  /** How long a poll may wait without looking, since other processes may ring bells that this one does not hear. */
  lookEveryMs: number
}
