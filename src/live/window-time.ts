// The time of windows, and of changes that were given for later: it moves by commands of the log, so that rows leave a window,
// and come when they are due, at the same tick at every peer.
import type { Sql } from '../db/sql.ts'
import { inputsOf } from '../protocol/plan-columns.ts'
import type { Plan } from '../protocol/plan.ts'
import { appendTime, forgetTimes, type TimeTag } from './commands.ts'

/** Windows move at most so often. */
const EVERY_MS = 1_000
/** Every peer has applied a later one by then, or begins anew. */
export const KEPT_MS = 60_000

/** Whether time alone can change the result of a plan. */
export function hasWindow(plan: Plan): boolean {
  return plan.op === 'window' || inputsOf(plan).some(([, input]) => hasWindow(input))
}

export class WindowTime {
  readonly #append: (tag: TimeTag) => Promise<void>
  readonly #forget: () => Promise<void>
  #next = Promise.withResolvers<void>()
  #appendedAtMs = -Infinity
  #forgottenAtMs = -Infinity
  /** The database's clock less `performance.now()`, or a little less; Infinity: not known yet. */
  #aheadMs = Infinity

  constructor(sql: Sql, namespace: string, peer: string) {
    this.#append = async (tag) => {
      const atMs = await appendTime(sql, namespace, peer, tag)
      this.#aheadMs = atMs - performance.now()
    }
    this.#forget = () => forgetTimes(sql, namespace, { keptMs: KEPT_MS })
  }

  /** A time has come by the log, from whichever peer: the next is not wanted before a second has gone by. */
  came(): void {
    this.#appendedAtMs = performance.now()
    this.release()
  }

  /** What is to be appended; `nextMs` is when the first of what was given for later comes. Where the clock is not known, it may have. */
  wanted({ nextMs, hasWindow }: { nextMs: number | null; hasWindow: boolean }): TimeTag | null {
    if (nextMs !== null && nextMs <= performance.now() + this.#aheadMs) return 'Due'
    return hasWindow ? 'Time' : null
  }

  /** Whoever waits for a time waits no more: one has come, or none will. */
  release(): void {
    this.#next.resolve()
    this.#next = Promise.withResolvers()
  }

  /** Appends the time now; resolves once one has come by the log. */
  async move(tag: TimeTag, { appended }: { appended: () => void }): Promise<void> {
    const { promise } = this.#next
    await this.#append(tag)
    appended()
    await promise
  }

  /** Once a second while windows hold rows, or something is due. */
  async turn(tag: TimeTag): Promise<void> {
    const nowMs = performance.now()
    if (nowMs - this.#appendedAtMs < EVERY_MS / 2) return
    this.#appendedAtMs = nowMs
    await this.#append(tag)
    if (nowMs - this.#forgottenAtMs < KEPT_MS) return
    this.#forgottenAtMs = nowMs
    await this.#forget()
  }
}
