// What happened, in order: kept only where somebody will read it, and always part of the run's fingerprint.
import { keyOf } from './checker.ts'
import type { JobRow } from './model/tables.ts'
import type { Scheduler } from './scheduler.ts'

interface HistoryEvent {
  atMs: number
  text: string
  job: string | null
}

export class History {
  readonly events: HistoryEvent[] = []
  readonly #scheduler: Scheduler
  readonly #isKept: boolean

  constructor(scheduler: Scheduler, isKept: boolean) {
    this.#scheduler = scheduler
    this.#isKept = isKept
  }

  note(text: string, job: string | null = null): void {
    this.#scheduler.mark(text)
    if (this.#isKept) this.events.push({ atMs: this.#scheduler.nowMs, text, job })
  }

  changed(statement: string, before: JobRow | null, after: JobRow | null): void {
    const row = after ?? before
    if (row === null) return
    this.#scheduler.mark(row.id)
    if (!this.#isKept) return
    const { state, attempt, fence, lease_token: token, lease_expires_at: untilMs } = row
    const lease = token === null ? '' : `, token ${token.slice(0, 8)} until ${((untilMs ?? 0) / 1_000).toFixed(3)} s`
    const was = before === null ? 'nothing' : before.state
    const is = after === null ? 'nothing' : state
    this.note(`${statement}: ${was} → ${is}, attempt ${attempt}, fence ${fence}${lease}`, keyOf(row))
  }

  /** The last events of a job, and what befell the world between them. */
  linesOf(job: string | null, most: number): string[] {
    const relevant = this.events.filter((event) => event.job === job || (job === null && event.job === null))
    return relevant.slice(-most).map(lineOf)
  }

  lines(): string[] {
    return this.events.map(lineOf)
  }
}

function lineOf({ atMs, text, job }: HistoryEvent): string {
  const at = (atMs / 1_000).toFixed(3).padStart(9)
  return job === null ? `${at}  ${text}` : `${at}  ${job.slice(0, job.indexOf('/'))}/…${job.slice(-6)}  ${text}`
}
