// One look at the log of a namespace: what came since the last, with a tick, which it gets here where nobody else gives it.
import type { Sql } from '../db/sql.ts'
import { readLog, type Entry } from './log.ts'
import { beginWatching, stampEvents, takeHead, type Head, type Stamper } from './stamp.ts'

/** Entries of one stamp, and of one reading. */
const LIMIT = 5_000
/** A stamper that stamps nothing for so long may be dead. */
const LEASE_MS = 5_000

export interface LookEvents {
  /** Where reading begins. Called again where events were left out since: what is known is void. */
  begun(head: Head): void | Promise<void>
  /** What came, whole ticks in their order. The next comes when this has resolved. */
  read(entries: readonly Entry[]): void | Promise<void>
}

export interface LookOptions {
  /** As whom it stamps. Default: nobody who has stamped before. */
  holder?: string
  /** Who went on to there need not begin. Default: it begins where the log is. */
  tick?: number | null
  /** In which the holder stamped in an earlier life. Default: in none. */
  epoch?: number | null
  /** Default 5,000 entries. */
  limit?: number
}

export class Look {
  readonly #sql: Sql
  readonly #namespace: string
  readonly #events: LookEvents
  readonly #holder: string
  readonly #limit: number
  #tick: number | null
  #stamper: Stamper | null = null
  /** What an earlier life was. It stamps once, so that what wakes a sleeper waits for one statement and not for three. */
  #earlier: Stamper | null
  /** Nothing is in the log that was not handed on, but what is stamped here. */
  #isCaughtUp = false
  /** More was there than one stamp takes. */
  #isFlooded = false
  #askedAtMs = -Infinity

  constructor(
    sql: Sql,
    namespace: string,
    events: LookEvents,
    { holder = crypto.randomUUID(), tick = null, epoch = null, limit = LIMIT }: LookOptions = {},
  ) {
    this.#sql = sql
    this.#namespace = namespace
    this.#events = events
    this.#holder = holder
    this.#tick = tick
    this.#limit = limit
    this.#earlier = epoch === null ? null : { namespace, holder, epoch }
  }

  /** All up to there was handed on; null: it has not begun. */
  get tick(): number | null {
    return this.#tick
  }

  /** Null: another may stamp what has no tick yet, and a look that found nothing proves nothing. */
  get epoch(): number | null {
    return this.#stamper?.epoch ?? null
  }

  /** How many entries there were. */
  async take(): Promise<number> {
    if (this.#tick === null) {
      const head = await beginWatching(this.#sql, this.#namespace)
      await this.#events.begun(head)
      this.#tick = head.tick
    }
    const first = await this.#takeFirst(this.#tick)
    if (first > 0) return first
    const nowMs = performance.now()
    if (this.#stamper === null && nowMs - this.#askedAtMs >= LEASE_MS / 2) {
      this.#askedAtMs = nowMs
      this.#stamper = await takeHead(this.#sql, this.#namespace, this.#holder, { leaseMs: LEASE_MS })
    }
    let entries: readonly Entry[] = []
    if (this.#stamper !== null) {
      const stamped = await this.#stamp(this.#stamper)
      if (stamped === null) this.#stamper = null
      entries = stamped ?? []
      const isNext = entries.length === 0 || entries[0]?.tick === this.#tick + 1
      if (this.#stamper === null || !isNext) this.#isCaughtUp = false
    }
    // What another stamped before, or a stamp whose answer was lost, is in the log, though there is nothing to stamp.
    if (this.#stamper === null || !this.#isCaughtUp) {
      const log = await readLog(this.#sql, this.#namespace, { after: this.#tick, limit: this.#limit })
      if (log.baseTick > this.#tick) {
        this.#tick = null
        return 1
      }
      entries = log.entries
      this.#isCaughtUp = this.#stamper !== null && entries.length === 0
    }
    return this.#handOn(entries)
  }

  /**
   * What the next tick has, where nothing is between it and what was handed on. The next look takes the head anew, and reads the
   * log: a stamp of the earlier life that is still on its way comes before that, or never.
   */
  async #takeFirst(tick: number): Promise<number> {
    const by = this.#earlier
    this.#earlier = null
    const entries = by === null ? null : await this.#stamp(by)
    return entries?.[0]?.tick === tick + 1 ? this.#handOn(entries) : 0
  }

  async #handOn(entries: readonly Entry[]): Promise<number> {
    const last = entries.at(-1)
    if (last === undefined) return 0
    await this.#events.read(entries)
    this.#tick = last.tick
    return entries.length
  }

  /** What clients ask for does not wait behind a flood of events. */
  async #stamp(by: Stamper): Promise<Entry[] | null> {
    const options = { limit: this.#limit, leaseMs: LEASE_MS }
    const sent = this.#isFlooded ? await stampEvents(this.#sql, by, { ...options, isOfClients: true }) : []
    this.#isFlooded = false
    if (sent?.length !== 0) return sent
    const stamped = await stampEvents(this.#sql, by, options)
    this.#isFlooded = stamped !== null && stamped.length >= this.#limit
    return stamped
  }

  /** A look failed. Its answer may have been lost after the commit: what was stamped is read. */
  failed(): void {
    this.#stamper = null
    this.#isCaughtUp = false
  }
}
