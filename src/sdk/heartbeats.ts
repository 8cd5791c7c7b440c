// The attempts that run here: one look over all of them finds whose lease wants renewing and whose time is over.
import { CallplaneError, fromWireError, type WireError } from '../protocol/errors.ts'
import { MAX_BATCH } from '../protocol/limits.ts'
import type { Heartbeat } from '../protocol/runners.ts'
import type { Attempt, Beat } from './attempt.ts'
import { isPassing } from './transport.ts'

/** Leases that want renewing within this part of the time between two heartbeats share the request of the first. */
const SHARE_MS = 3_000
/** Progress values of one request; with the reports they must fit into 5 MiB. */
const ROOM_BYTES = 1024 * 1024

export class Heartbeats {
  readonly #attempts = new Set<Attempt>()
  /** No attempt needs anything before this. */
  earliestMs: number = Infinity

  add(attempt: Attempt): void {
    this.#attempts.add(attempt)
    this.expect(Math.min(attempt.beatAtMs, attempt.timeoutAtMs))
  }

  delete(attempt: Attempt): void {
    this.#attempts.delete(attempt)
  }

  expect(atMs: number): void {
    this.earliestMs = Math.min(this.earliestMs, atMs)
  }

  isDue(nowMs: number): boolean {
    return this.earliestMs <= nowMs
  }

  /** When the next attempt needs something. */
  nextAtMs(nowMs: number): number {
    let next = Infinity
    // What is due already goes out as soon as a request can: it needs no timer.
    for (const { beatAtMs, timeoutAtMs } of this.#attempts) {
      if (beatAtMs > nowMs) next = Math.min(next, beatAtMs)
      if (timeoutAtMs > nowMs) next = Math.min(next, timeoutAtMs)
    }
    return next
  }

  /** Tells the attempts whose time is over. */
  timeOut(nowMs: number): void {
    for (const attempt of this.#attempts) {
      if (attempt.timeoutAtMs > nowMs || attempt.isAborted) continue
      attempt.abort(new CallplaneError('call_timed_out', `the attempt runs for more than ${attempt.job.timeoutMs} ms`))
    }
  }

  /** What to send now. */
  take(nowMs: number): Beat[] {
    if (!this.isDue(nowMs)) return []
    const beats: Beat[] = []
    let bytes = 0
    for (const attempt of this.#attempts) {
      if (attempt.isLost || attempt.beatAtMs > nowMs + SHARE_MS) continue
      bytes += attempt.progress?.length ?? 0
      if (beats.length === MAX_BATCH || (beats.length > 0 && bytes > ROOM_BYTES)) break
      beats.push(attempt.takeBeat(nowMs))
    }
    this.earliestMs = Infinity
    for (const { beatAtMs, timeoutAtMs, isLost, isAborted } of this.#attempts) {
      this.expect(isLost ? Infinity : beatAtMs)
      this.expect(isAborted ? Infinity : timeoutAtMs)
    }
    return beats
  }

  /** No answer: they are due again. */
  giveBack(beats: readonly Beat[]): void {
    for (const beat of beats) {
      beat.attempt.giveBack(beat)
      this.expect(beat.attempt.beatAtMs)
    }
  }

  /** The plane's word on each. Whether it could not take one now, which is then sent again. */
  answered(beats: readonly Beat[], verdicts: readonly { error?: WireError }[]): boolean {
    const again: Beat[] = []
    for (const [index, beat] of beats.entries()) {
      const verdict = verdicts[index]
      const error = verdict?.error && fromWireError(verdict.error)
      if (verdict === undefined || (error !== undefined && isPassing(error))) again.push(beat)
      else if (error !== undefined) beat.attempt.lose(error)
    }
    this.giveBack(again)
    return again.length > 0
  }
}

export function wireBeat({ attempt: { job }, progress }: Beat): Heartbeat {
  return { id: job.id, token: job.token, ...(progress === null ? {} : { progress }) }
}
