// Runs attempts, of each service never more at once than it has slots.
import type { Report } from '../protocol/runners.ts'
import { runAttempt, type Attempt } from './attempt.ts'

export class Slots {
  /** Beyond the slots: they come when the slots become fewer while a poll hangs. */
  readonly #queue = new Set<Attempt>()
  readonly #ended: (attempt: Attempt, report: Report | null) => void

  /** `ended` is told of each attempt, without a report where it was not worth beginning. It must not throw. */
  constructor(ended: (attempt: Attempt, report: Report | null) => void) {
    this.#ended = ended
  }

  add(attempt: Attempt): void {
    const { served } = attempt
    if (served.running < served.slots) return void this.#run(attempt)
    served.waiting++
    this.#queue.add(attempt)
  }

  /** After slots were added, or attempts were aborted. */
  runQueued(): void {
    for (const attempt of this.#queue) {
      const { served, isAborted } = attempt
      if (!isAborted && served.running >= served.slots) continue
      this.#queue.delete(attempt)
      served.waiting--
      // Its job goes on elsewhere, or is over.
      if (isAborted) this.#ended(attempt, null)
      else void this.#run(attempt)
    }
  }

  /** Never rejects. */
  async #run(attempt: Attempt): Promise<void> {
    attempt.served.running++
    const report = await runAttempt(attempt)
    attempt.served.running--
    attempt.end()
    this.#ended(attempt, report)
    if (this.#queue.size > 0) this.runQueued()
  }
}
