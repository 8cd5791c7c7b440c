// Reads the log of a namespace at full speed, and stamps it where nobody else does.
//
//   poked ── stamp or read ── something ──▶ hand it on, look again at once
//                          └─ nothing ────▶ look again after 2, 4, 8 … 50 ms, later each second, and at last not at all
//
// Who writes arms the bell before, and again while it goes on; each arm is a poke. So a reader that has not been poked for
// longer than an arm lasts has nothing to look for, also where a writer died after its commit.
import type { Sql } from '../db/sql.ts'
import { readLog, type Entry } from './log.ts'
import { beginWatching, stampEvents, takeHead, type Head, type Stamper } from './stamp.ts'

/** Entries of one stamp, and of one reading. */
const LIMIT = 5_000
/** A stamper that stamps nothing for so long may be dead. */
const LEASE_MS = 5_000
/** Writers that come together share a tick. */
const MIN_PAUSE_MS = 3
const MAX_PAUSE_MS = 50
/** After the last that was found, or the last poke: often for so long, then seldom, then no more. */
const BUSY_MS = 5_000
const SELDOM_MS = 1_000
/** Longer than an arm of the bell. */
const AWAKE_MS = 90_000
const AFTER_FAILURE_MS = 1_000

export interface ReaderEvents {
  /** Where reading begins. Called again where events were left out since: what is known is void. */
  begun(head: Head): void | Promise<void>
  /** What came, whole ticks in their order. The next comes when this has resolved. */
  read(entries: readonly Entry[]): void | Promise<void>
  /** The database did not answer, or does again. */
  failed(error: unknown): void
}

export interface LogReader {
  /** Something may have been written. */
  poke(): void
  close(): Promise<void>
}

/** Reads until it is closed. */
export function readForEver(sql: Sql, namespace: string, events: ReaderEvents): LogReader {
  const holder = crypto.randomUUID()
  let tick: number | null = null
  let stamper: Stamper | null = null
  /** Nothing is in the log that was not handed on, but what this reader stamps itself. */
  let isCaughtUp = false
  /** More was there than one stamp takes. */
  let isFlooded = false
  let askedAtMs = -Infinity
  let activeAtMs = performance.now()
  let pauseMs = MIN_PAUSE_MS
  const over = new AbortController()
  let isPoked = true
  let wake: (() => void) | null = null

  /** What clients ask for does not wait behind a flood of events. */
  async function stamp(by: Stamper): Promise<Entry[] | null> {
    const options = { limit: LIMIT, leaseMs: LEASE_MS }
    const sent = isFlooded ? await stampEvents(sql, by, { ...options, isOfClients: true }) : []
    isFlooded = false
    if (sent?.length !== 0) return sent
    const stamped = await stampEvents(sql, by, options)
    isFlooded = stamped !== null && stamped.length >= LIMIT
    return stamped
  }

  /** How many entries there were. */
  async function turn(): Promise<number> {
    if (tick === null) {
      const head = await beginWatching(sql, namespace)
      await events.begun(head)
      tick = head.tick
    }
    const nowMs = performance.now()
    if (stamper === null && nowMs - askedAtMs >= LEASE_MS / 2) {
      askedAtMs = nowMs
      stamper = await takeHead(sql, namespace, holder, { leaseMs: LEASE_MS })
    }
    let entries: readonly Entry[] = []
    if (stamper !== null) {
      const stamped = await stamp(stamper)
      if (stamped === null) stamper = null
      entries = stamped ?? []
      if (stamper === null || (entries.length > 0 && entries[0]?.tick !== tick + 1)) isCaughtUp = false
    }
    // What another stamped before, or a stamp whose answer was lost, is in the log, though there is nothing to stamp.
    if (stamper === null || !isCaughtUp) {
      const log = await readLog(sql, namespace, { after: tick, limit: LIMIT })
      if (log.baseTick > tick) {
        tick = null
        return 1
      }
      entries = log.entries
      isCaughtUp = stamper !== null && entries.length === 0
    }
    const last = entries.at(-1)
    if (last === undefined) return 0
    await events.read(entries)
    tick = last.tick
    return entries.length
  }

  async function pause(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = ms === Infinity ? undefined : setTimeout(resolve, ms)
    wake = resolve
    await promise
    wake = null
    clearTimeout(timer)
  }

  async function run(): Promise<void> {
    while (!over.signal.aborted) {
      isPoked = false
      try {
        const found = await turn()
        if (found > 0) activeAtMs = performance.now()
        pauseMs = found > 0 ? MIN_PAUSE_MS : Math.min(pauseMs * 2, MAX_PAUSE_MS)
      } catch (error) {
        events.failed(error)
        stamper = null
        isCaughtUp = false
        // The answer may have been lost after the commit: what was stamped is read.
        pauseMs = AFTER_FAILURE_MS
        activeAtMs = performance.now()
      }
      const sinceMs = performance.now() - activeAtMs
      if (over.signal.aborted) break
      await new Promise((resolve) => setTimeout(resolve, MIN_PAUSE_MS))
      if (isPoked && pauseMs < AFTER_FAILURE_MS) continue
      await pause(sinceMs < BUSY_MS ? pauseMs : sinceMs < AWAKE_MS ? SELDOM_MS : Infinity)
    }
  }

  const running = run()
  return {
    poke() {
      isPoked = true
      activeAtMs = performance.now()
      // A database that does not answer is not asked more often, however much there is to be written.
      if (pauseMs === AFTER_FAILURE_MS) return
      pauseMs = MIN_PAUSE_MS
      wake?.()
    },
    async close() {
      over.abort()
      wake?.()
      await running
    },
  }
}
