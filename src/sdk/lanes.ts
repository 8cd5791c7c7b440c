// What a runner sends, and when.
//
//   claim lane    one poll at a time asks for jobs and hangs until there are some. What is to be said when it goes out
//                 (reports, heartbeats) goes with it: a job after a job costs one request each.
//   report lane   what is to be said while that poll hangs goes out beside it, one request at a time, so that a report
//                 is answered at once, and what comes meanwhile shares the next.
//
// A claim keeps its id until an answer was received: what the plane gave to an answer that was lost, it gives again. A
// poll that no longer says what this runner can take is replaced by one with the same claim id; the plane then ends the
// first, and whichever of the two brings jobs, they are run once (by their tokens).
import { CallplaneError, type ErrorCode } from '../protocol/errors.ts'
import type { ClaimedJob } from '../protocol/runners.ts'
import type { Beat } from './attempt.ts'
import { Backoff } from './backoff.ts'
import { nextPoll, sumOf, wireClaim, type Claim, type Poll } from './claim.ts'
import { wireBeat, type Heartbeats } from './heartbeats.ts'
import type { Entry, Outbox } from './outbox.ts'
import { POLL, type AnswerOf } from './routes.ts'
import type { Served } from './served.ts'
import { Unanswered, type Transport } from './transport.ts'

/** After jobs came, so long for the first result: its report then rides with the next claim. */
const MOMENT_MS = 5
/** A poll that ends without jobs sooner than this did not wait: the next one must not follow at once. */
const TOO_SOON_MS = 100
/** After so many failures in a row the plane was away, and may have come back without knowing this runner. */
const AWAY_FAILURES = 3
/** Refusals that a report in the request may be to blame for. */
const ABOUT_REPORTS: ReadonlySet<ErrorCode> = new Set(['payload_too_large', 'invalid_request', 'invalid_msgpack'])

type PollAnswer = AnswerOf<typeof POLL>

/** Reports and heartbeats of one request. */
interface Batch {
  readonly entries: readonly Entry[]
  readonly beats: readonly Beat[]
}

/** What the lanes serve. */
export interface LaneHost {
  readonly transport: Transport
  readonly outbox: Outbox
  readonly heartbeats: Heartbeats
  runnerId(): string
  /** How many more jobs of each service can be taken. */
  capacities(): Map<Served, number>
  /** Jobs came, and not for the first time perhaps. */
  take(claim: Claim, jobs: readonly ClaimedJob[]): void
  /** Heartbeats were sent: when to look again has changed. */
  beaten(): void
  /** Something may be over. */
  moved(): void
  /** The plane was away. */
  returned(): void
}

export class Lanes {
  readonly #host: LaneHost
  readonly #backoff: Backoff
  readonly #polls = new Set<Poll>()
  #claim: Claim | null = null
  #current: Poll | null = null
  #isReporting = false
  #isPumpDue = false
  #isOver = false
  #moment: ReturnType<typeof setTimeout> | undefined
  #pause: ReturnType<typeof setTimeout> | undefined
  #warned = ''

  constructor(host: LaneHost) {
    this.#host = host
    this.#backoff = new Backoff(host.transport.budget)
  }

  /** Sends what there is to send. Called whenever something has changed. */
  pump(): void {
    if (this.#pause === undefined && this.#moment === undefined && !this.#isOver) {
      const { outbox, heartbeats } = this.#host
      const poll = nextPoll(this.#claim, this.#current, this.#host.capacities())
      if (poll !== null) void this.#ask(poll)
      if (!this.#isReporting && (!outbox.isEmpty || heartbeats.isDue(performance.now()))) void this.#report()
    }
    this.#host.moved()
  }

  /** A result is there: what comes in the same tick shares its request. */
  pumpSoon(): void {
    if (this.#isPumpDue) return
    this.#isPumpDue = true
    queueMicrotask(() => {
      this.#isPumpDue = false
      clearTimeout(this.#moment)
      this.#moment = undefined
      this.pump()
    })
  }

  /** Whether jobs of the service may still be on their way. */
  mayBring(served: Served): boolean {
    const claims = [...this.#polls].map((poll) => poll.claim)
    return this.#claim?.services.has(served) === true || claims.some((claim) => claim.services.has(served))
  }

  /** The service no longer waits for what may be on its way. */
  forget(served: Served): void {
    for (const { claim } of this.#polls) claim.services.delete(served)
    this.#claim?.services.delete(served)
    if (this.#claim?.services.size === 0) this.#claim = null
  }

  shut(): void {
    this.#isOver = true
    clearTimeout(this.#moment)
    clearTimeout(this.#pause)
  }

  /** The claim lane. Never rejects. */
  async #ask(poll: Poll): Promise<void> {
    const { claim } = poll
    this.#claim = claim
    this.#current = poll
    this.#polls.add(poll)
    // The failure of a poll that was replaced is no news: the one in its place asks for the same.
    const answer = await this.#send(this.#batch(true), poll, () => this.#current === poll)
    this.#polls.delete(poll)
    const isNewest = this.#current === poll
    if (isNewest) this.#current = null
    if (answer !== null) {
      if (isNewest) this.#claimAnswered(poll, answer.jobs.length)
      this.#host.take(claim, answer.jobs)
    }
    this.pump()
  }

  /** The report lane. Never rejects. */
  async #report(): Promise<void> {
    const batch = this.#batch(false)
    if (batch.entries.length + batch.beats.length === 0) return
    this.#isReporting = true
    await this.#send(batch, null, () => true)
    this.#isReporting = false
    this.pump()
  }

  /** One request; null where there was no answer. Never rejects. */
  async #send(batch: Batch, poll: Poll | null, isNews: () => boolean): Promise<PollAnswer | null> {
    const { transport, outbox, heartbeats } = this.#host
    try {
      const body = {
        runner: this.#host.runnerId(),
        ...(batch.entries.length > 0 ? { reports: batch.entries.map(({ report }) => report) } : {}),
        ...(batch.beats.length > 0 ? { heartbeats: batch.beats.map(wireBeat) } : {}),
        ...(poll === null ? {} : { claim: wireClaim(poll) }),
      }
      const sentAtMs = performance.now()
      const answer = await transport.send(POLL, body, poll ?? {})
      if (![answer.reports, answer.heartbeats, answer.jobs].every(Array.isArray)) throw new Unanswered('not an answer')
      const isAgain = outbox.answered(batch.entries, answer.reports)
      const isBeatAgain = heartbeats.answered(batch.beats, answer.heartbeats)
      const hadNoWait = poll !== null && isNews() && isEmptyTooSoon(answer, poll, performance.now() - sentAtMs)
      if (isAgain || isBeatAgain || hadNoWait) this.#failed(new Unanswered('not now'))
      else this.#succeeded()
      return answer
    } catch (error) {
      heartbeats.giveBack(batch.beats)
      const refusal = error instanceof Unanswered ? error.refusal : error
      if (refusal instanceof CallplaneError && ABOUT_REPORTS.has(refusal.code)) outbox.refused(batch.entries, refusal)
      else outbox.giveBack(batch.entries)
      if (isNews()) this.#failed(error)
      return null
    }
  }

  #batch(isClaiming: boolean): Batch {
    const beats = this.#host.heartbeats.take(performance.now())
    if (beats.length > 0) this.#host.beaten()
    return { entries: this.#host.outbox.take({ isClaiming }), beats }
  }

  /**
   * The claim is over: all that it holds is here. Unless an older poll of it still hangs and is cut off: what that one was
   * given in this very moment is asked for once more.
   */
  #claimAnswered(poll: Poll, jobs: number): void {
    const older = [...this.#polls].filter(({ claim }) => poll.waitMs === 0 && claim === poll.claim)
    for (const { controller } of older) controller.abort()
    poll.claim.isCutOff = older.length > 0
    this.#claim = poll.claim.isCutOff ? poll.claim : null
    // A full answer leaves nothing to ask for, or more to be had at once.
    if (jobs === 0 || jobs >= sumOf(poll.asked)) return
    this.#moment ??= setTimeout(() => {
      this.#moment = undefined
      this.pump()
    }, MOMENT_MS)
  }

  #succeeded(): void {
    if (this.#backoff.failures >= AWAY_FAILURES) this.#host.returned()
    this.#backoff.succeeded()
    this.#warned = ''
    clearTimeout(this.#pause)
    this.#pause = undefined
  }

  /** Nothing is sent until the pause is over. */
  #failed(error: unknown): void {
    if (this.#isOver) return
    if (error instanceof CallplaneError && error.code !== this.#warned) {
      this.#warned = error.code
      // Nobody awaits a poll: without this line, a revoked key would look like a service without callers.
      // oxlint-disable-next-line no-console -- an SDK has no other voice
      console.warn(`callplane: this runner is refused: ${error.code}: ${error.message}`)
    }
    const delayMs = this.#backoff.failed(error instanceof Unanswered ? error.retryAfterMs : 0)
    this.#pause ??= setTimeout(() => {
      this.#pause = undefined
      this.pump()
    }, delayMs)
  }
}

/** Whether a poll that should have waited came back with nothing: a plane that does so is not asked again at once. */
function isEmptyTooSoon({ jobs, reports, heartbeats }: PollAnswer, poll: Poll, tookMs: number): boolean {
  if (poll.waitMs === 0 || jobs.length > 0 || tookMs >= TOO_SOON_MS) return false
  return [...reports, ...heartbeats].every(({ error }) => error === undefined)
}
