// Reports of attempts that ended, kept until the plane has answered to them, through any outage.
import { CallplaneError, fromWireError, type WireError } from '../protocol/errors.ts'
import { MAX_BATCH } from '../protocol/limits.ts'
import type { ClaimedJob, Report } from '../protocol/runners.ts'
import { threwReport } from './attempt.ts'
import type { Served } from './served.ts'
import { isPassing } from './transport.ts'

/** A report, and whose it is. */
export interface Entry {
  readonly job: ClaimedJob
  readonly served: Served
  report: Report
  /** Whether it tells of its own refusal already. */
  isReplaced: boolean
}

/** Of the 5 MiB that a request may have; the rest is for heartbeats, the claim and what surrounds each report. */
const ROOM_BYTES = 3.5 * 1024 * 1024

export class Outbox {
  #ready: Entry[] = []
  /** After a request with reports was refused as a whole: they go one by one, until the one to blame is found. */
  #isCareful = false

  get isEmpty(): boolean {
    return this.#ready.length === 0
  }

  add(entry: Entry): void {
    this.#ready.push(entry)
    entry.served.unsettled++
  }

  /** What fits into one request. */
  take({ isClaiming }: { isClaiming: boolean }): Entry[] {
    if (this.isEmpty) this.#isCareful = false
    if (this.#isCareful) return isClaiming ? [] : this.#ready.splice(0, 1)
    let bytes = 0
    let count = 0
    for (const { report } of this.#ready) {
      bytes += payloadOf(report).length + 128
      if (count === MAX_BATCH || (count > 0 && bytes > ROOM_BYTES)) break
      count++
    }
    return this.#ready.splice(0, count)
  }

  /** No answer: they are sent again. */
  giveBack(entries: readonly Entry[]): void {
    this.#ready.unshift(...entries)
  }

  /** The plane refused the whole request that carried them. */
  refused(entries: readonly Entry[], error: CallplaneError): void {
    const [first] = entries
    if (first === undefined) return
    if (entries.length === 1 && this.#isCareful) return this.#refuse(first, error)
    this.#isCareful = true
    this.giveBack(entries)
  }

  /** The plane's word on each report. Whether it could not take one now, which is then sent again. */
  answered(entries: readonly Entry[], verdicts: readonly { error?: WireError }[]): boolean {
    const again: Entry[] = []
    for (const [index, entry] of entries.entries()) {
      const verdict = verdicts[index]
      if (verdict === undefined) again.push(entry)
      else if (verdict.error === undefined || verdict.error.code === 'lease_lost') this.#settle(entry)
      else {
        const error = fromWireError(verdict.error)
        if (isPassing(error)) again.push(entry)
        else this.#refuse(entry, error)
      }
    }
    this.giveBack(again)
    return again.length > 0
  }

  /** Gives up the reports of a service. */
  drop(served: Served): void {
    for (const entry of this.#ready) if (entry.served === served) this.#settle(entry)
    this.#ready = this.#ready.filter((entry) => entry.served !== served)
  }

  /** What the plane does not take is reported as the error that it is; where not even that is taken, the lease ends it. */
  #refuse(entry: Entry, error: CallplaneError): void {
    if (entry.isReplaced) return this.#settle(entry)
    entry.isReplaced = true
    const code = error.code === 'payload_too_large' ? error.code : 'result_not_serializable'
    entry.report = threwReport(entry.job, new CallplaneError(code, error.message))
    this.#ready.push(entry)
  }

  #settle({ served }: Entry): void {
    // A service that was given up has none left, whatever is still under way.
    served.unsettled = Math.max(0, served.unsettled - 1)
  }
}

function payloadOf(report: Report): Uint8Array {
  return report.ended === 'succeeded' ? report.result : report.error
}
