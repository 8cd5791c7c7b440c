// The runner of a process: the jobs of all its services come by one poll, run here, and are reported. lanes.ts says when
// what is sent; claim.ts, what is asked for.
import { CallplaneError } from '../protocol/errors.ts'
import type { ClaimedJob, Report } from '../protocol/runners.ts'
import { Alarm } from './alarm.ts'
import { Attempt, type AttemptHost } from './attempt.ts'
import { capacitiesOf, type Claim } from './claim.ts'
import { prepareStore } from './current-call.ts'
import { Heartbeats, wireBeat } from './heartbeats.ts'
import { Lanes, type LaneHost } from './lanes.ts'
import { Membership } from './membership.ts'
import { Outbox } from './outbox.ts'
import { untilAnswered } from './retry.ts'
import { POLL } from './routes.ts'
import type { Served } from './served.ts'
import { Slots } from './slots.ts'
import { Unanswered, type Transport } from './transport.ts'

/** Results that a stopping service cannot deliver for so long are given up. */
const DELIVER_MS = 30_000
/** A runner that waits for nothing (its slots are 0) still keeps its process alive. */
const IDLE_MS = 30_000

interface Stop extends PromiseWithResolvers<void> {
  /** Since when its functions have all ended. */
  idleSinceMs: number
  isFinishing: boolean
}

export class Runner implements LaneHost, AttemptHost {
  readonly transport: Transport
  readonly outbox: Outbox = new Outbox()
  readonly heartbeats: Heartbeats = new Heartbeats()
  readonly #membership: Membership
  readonly #lanes: Lanes
  readonly #alarm = new Alarm(() => this.#wake())
  readonly #slots = new Slots((attempt, report) => this.#ended(attempt, report))
  /** Services that were started, or are about to be. */
  readonly #starts = new Map<Served, PromiseWithResolvers<void>>()
  readonly #stops = new Map<Served, Stop>()
  /** Those that jobs can come for: registered, and not wholly stopped. */
  readonly #served = new Map<string, Served>()
  #isClosing = false
  #id: string | undefined

  constructor(transport: Transport) {
    this.transport = transport
    this.#membership = new Membership(transport, () => this.runnerId())
    this.#lanes = new Lanes(this)
  }

  start(served: Served): Promise<void> {
    const known = this.#starts.get(served)
    if (known !== undefined) return known.promise
    const start = Promise.withResolvers<void>()
    this.#starts.set(served, start)
    const isWanted = () => this.#starts.get(served) === start
    this.#start(served, isWanted).then(start.resolve, (error: unknown) => {
      if (isWanted()) this.#starts.delete(served)
      start.reject(error)
    })
    return start.promise
  }

  async #start(served: Served, isWanted: () => boolean): Promise<void> {
    this.transport.key()
    const old = this.#served.get(served.name)
    if (old !== undefined) await this.#stops.get(old)?.promise
    if (this.#isClosing) throw new CallplaneError('closed')
    if ([...this.#starts.keys()].find((one) => one.name === served.name) !== served) {
      throw new CallplaneError('invalid_option', `another service named ${served.name} is started on this Callplane`)
    }
    await Promise.all([this.#membership.join(served, isWanted), prepareStore()])
    if (!isWanted()) return this.#membership.leave(served)
    this.#served.set(served.name, served)
    served.isAccepting = true
    this.#alarm.by(performance.now() + IDLE_MS)
    this.#lanes.pump()
  }

  stop(served: Served): Promise<void> {
    this.#starts.get(served)?.reject(new CallplaneError('closed'))
    this.#starts.delete(served)
    const known = this.#stops.get(served)
    if (known !== undefined) return known.promise
    if (!served.isAccepting) return Promise.resolve()
    const stop: Stop = { ...Promise.withResolvers<void>(), idleSinceMs: performance.now(), isFinishing: false }
    this.#stops.set(served, stop)
    served.isAccepting = false
    this.#alarm.by(stop.idleSinceMs + DELIVER_MS)
    this.#lanes.pump()
    return stop.promise
  }

  /** The slots of a service have changed. */
  resize(served: Served): void {
    if (!served.isAccepting) return
    this.#slots.runQueued()
    this.#membership.refresh()
    this.#lanes.pump()
  }

  async close(): Promise<void> {
    this.#isClosing = true
    const all = new Set([...this.#starts.keys(), ...this.#stops.keys()])
    await Promise.all([...all].map((served) => this.stop(served)))
    this.#alarm.clear()
    this.#lanes.shut()
  }

  /** Made with the first use: Workers make no random values while a module loads. */
  runnerId(): string {
    return (this.#id ??= crypto.randomUUID())
  }

  capacities(): Map<Served, number> {
    return capacitiesOf(this.#served.values())
  }

  take(claim: Claim, jobs: readonly ClaimedJob[]): void {
    const nowMs = performance.now()
    for (const job of jobs) {
      const served = this.#served.get(job.service)
      if (served === undefined || claim.tokens.has(job.token)) continue
      claim.tokens.add(job.token)
      const attempt = new Attempt(job, served, nowMs, this)
      this.heartbeats.add(attempt)
      this.#slots.add(attempt)
    }
    this.beaten()
  }

  beaten(): void {
    this.#alarm.by(this.heartbeats.earliestMs)
  }

  attend(atMs: number): void {
    this.heartbeats.expect(atMs)
    this.#alarm.by(atMs)
  }

  async renew(attempt: Attempt): Promise<void> {
    const beat = attempt.takeBeat(performance.now())
    const body = { runner: this.runnerId(), heartbeats: [wireBeat(beat)] }
    await untilAnswered(this.transport, async () => {
      const { heartbeats } = await this.transport.send(POLL, body)
      if (this.heartbeats.answered([beat], heartbeats)) throw new Unanswered('not now')
    })
    if (attempt.isLost) throw new CallplaneError('lease_lost')
  }

  returned(): void {
    this.#membership.refresh()
  }

  /** Whether a service that stops has nothing left. */
  moved(): void {
    for (const [served, stop] of this.#stops) {
      const isBusy = served.running + served.waiting + served.unsettled > 0
      if (isBusy || stop.isFinishing || this.#lanes.mayBring(served)) continue
      stop.isFinishing = true
      void this.#finish(served, stop)
    }
  }

  /** Never rejects. */
  async #finish(served: Served, stop: Stop): Promise<void> {
    this.#served.delete(served.name)
    if (this.#served.size === 0) this.#alarm.clear()
    await this.#membership.leave(served)
    this.#stops.delete(served)
    stop.resolve()
  }

  #ended(attempt: Attempt, report: Report | null): void {
    const { job, served, isLost } = attempt
    this.heartbeats.delete(attempt)
    if (report !== null && !isLost) this.outbox.add({ job, served, report, isReplaced: false })
    const stop = this.#stops.get(served)
    if (stop !== undefined) {
      stop.idleSinceMs = performance.now()
      this.#alarm.by(stop.idleSinceMs + DELIVER_MS)
    }
    this.#lanes.pumpSoon()
  }

  /** Once for all attempts and services. */
  #wake(): void {
    const nowMs = performance.now()
    let nextMs = nowMs + IDLE_MS
    this.heartbeats.timeOut(nowMs)
    for (const [served, stop] of this.#stops) {
      const giveUpAtMs = stop.idleSinceMs + DELIVER_MS
      if (giveUpAtMs > nowMs) nextMs = Math.min(nextMs, giveUpAtMs)
      else if (served.running + served.waiting === 0) this.#giveUp(served)
    }
    this.#slots.runQueued()
    this.#lanes.pump()
    if (this.#served.size > 0) this.#alarm.by(Math.min(nextMs, this.heartbeats.nextAtMs(nowMs)))
  }

  /** The plane does not take what the service has left. */
  #giveUp(served: Served): void {
    this.outbox.drop(served)
    served.unsettled = 0
    this.#lanes.forget(served)
  }
}
