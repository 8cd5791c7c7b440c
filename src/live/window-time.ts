// The time of windows: it moves by commands of the log, so that rows leave a window at the same tick at every peer.
import type { Sql } from '../db/sql.ts'
import { inputsOf } from '../protocol/plan-columns.ts'
import type { Plan } from '../protocol/plan.ts'
import { appendTime, forgetTimes } from './commands.ts'

/** Windows move at most so often. */
const EVERY_MS = 1_000
/** Every peer has applied a later one by then, or begins anew. */
const KEPT_MS = 60_000

/** Whether time alone can change the result of a plan. */
export function hasWindow(plan: Plan): boolean {
  return plan.op === 'window' || inputsOf(plan).some(([, input]) => hasWindow(input))
}

export class WindowTime {
  readonly #append: () => Promise<void>
  readonly #forget: () => Promise<void>
  #next = Promise.withResolvers<void>()
  #appendedAtMs = -Infinity
  #forgottenAtMs = -Infinity

  constructor(sql: Sql, namespace: string, peer: string) {
    this.#append = () => appendTime(sql, namespace, peer)
    this.#forget = () => forgetTimes(sql, namespace, { keptMs: KEPT_MS })
  }

  /** A time has come by the log, from whichever peer: the next is not wanted before a second has gone by. */
  came(): void {
    this.#appendedAtMs = performance.now()
    this.release()
  }

  /** Whoever waits for a time waits no more: one has come, or none will. */
  release(): void {
    this.#next.resolve()
    this.#next = Promise.withResolvers()
  }

  /** Appends the time now; resolves once one has come by the log. */
  async move({ appended }: { appended: () => void }): Promise<void> {
    const { promise } = this.#next
    await this.#append()
    appended()
    await promise
  }

  /** Once a second while windows hold rows. */
  async turn(): Promise<void> {
    const nowMs = performance.now()
    if (nowMs - this.#appendedAtMs < EVERY_MS / 2) return
    this.#appendedAtMs = nowMs
    await this.#append()
    if (nowMs - this.#forgottenAtMs < KEPT_MS) return
    this.#forgottenAtMs = nowMs
    await this.#forget()
  }
}
