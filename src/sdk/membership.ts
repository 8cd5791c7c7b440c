// Registering a runner: what it serves, told to the plane whenever that has changed.
import type { RegisterRunner } from '../protocol/runners.ts'
import { Backoff } from './backoff.ts'
import { definitionOf } from './definition.ts'
import { quiet } from './quiet.ts'
import { LEAVE_RUNNER, REGISTER_RUNNER } from './routes.ts'
import type { Served } from './served.ts'
import { Unanswered, type Transport } from './transport.ts'

const SDK = 'callplane-typescript/0.1.0'

export class Membership {
  readonly #transport: Transport
  readonly #runner: () => string
  readonly #members = new Set<Served>()
  /** Requests of this kind follow each other: the last registration holds. */
  #last: Promise<unknown> = Promise.resolve()
  #joining = 0
  #isRefreshDue = false

  constructor(transport: Transport, runner: () => string) {
    this.#transport = transport
    this.#runner = runner
  }

  /** Tries until the plane knows the service, refuses it, or it is no longer wanted. */
  join(served: Served, isWanted: () => boolean): Promise<void> {
    this.#joining++
    const joined = this.#inTurn(async () => {
      const backoff = new Backoff(this.#transport.budget)
      while (isWanted()) {
        try {
          await this.#register([...this.#members, served])
          if (isWanted()) this.#members.add(served)
          return
        } catch (error) {
          if (!(error instanceof Unanswered)) throw error
          if (error.refusal !== null) throw error.refusal
          await this.#transport.pause(backoff.failed(error.retryAfterMs))
        }
      }
    })
    return joined.finally(() => this.#joining--)
  }

  /** Best effort, and soon: only people read who has left. */
  async leave(served: Served): Promise<void> {
    if (!this.#members.delete(served)) return
    if (this.#members.size + this.#joining > 0) this.refresh()
    else await this.#transport.send(LEAVE_RUNNER, { runner: this.#runner() }).catch(() => {})
  }

  /** Best effort, after something changed: slots, or the plane was away and may have forgotten. */
  refresh(): void {
    if (this.#isRefreshDue) return
    this.#isRefreshDue = true
    void quiet(
      this.#inTurn(async () => {
        this.#isRefreshDue = false
        if (this.#members.size > 0) await this.#register([...this.#members])
      }),
    )
  }

  #inTurn(task: () => Promise<void>): Promise<void> {
    const done = this.#last.then(task)
    this.#last = done.catch(() => {})
    return done
  }

  async #register(members: readonly Served[]): Promise<void> {
    const services: RegisterRunner['services'] = members.map(({ name, slots, functions }) => ({
      name,
      slots,
      functions: Array.from(functions, ([key, fn]) => ({ name: key, policy: definitionOf(fn).policy })),
    }))
    await this.#transport.send(REGISTER_RUNNER, { runner: this.#runner(), sdk: SDK, services })
  }
}
