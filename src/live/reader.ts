// Reads the log of a namespace at full speed, and stamps it where nobody else does.
//
//   poked ── stamp or read ── something ──▶ hand it on, look again at once
//                          └─ nothing ────▶ look again after 2, 4, 8 … 50 ms, later each second, and at last not at all
//
// Who writes arms the bell before, and again while it goes on; each arm is a poke. So a reader that has not been poked for
// longer than an arm lasts has nothing to look for, also where a writer died after its commit.
import type { Sql } from '../db/sql.ts'
import { Look, type LookEvents } from './look.ts'

/** Writers that come together share a tick. */
const MIN_PAUSE_MS = 3
const MAX_PAUSE_MS = 50
/** After the last that was found, or the last poke: often for so long, then seldom, then no more. */
const BUSY_MS = 5_000
const SELDOM_MS = 1_000
/** Longer than an arm of the bell. */
const AWAKE_MS = 90_000
const AFTER_FAILURE_MS = 1_000

export interface ReaderEvents extends LookEvents {
  /** It has gone on from what the peer had as it opened the log, and read all up to where that was by then. Once, if at all. */
  wentOn?(tick: number): void
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
  const look = new Look(sql, namespace, events)
  let activeAtMs = performance.now()
  let pauseMs = MIN_PAUSE_MS
  const over = new AbortController()
  let isPoked = true
  let wake: (() => void) | null = null

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
        const found = await look.take()
        if (found > 0) activeAtMs = performance.now()
        pauseMs = found > 0 ? MIN_PAUSE_MS : Math.min(pauseMs * 2, MAX_PAUSE_MS)
      } catch (error) {
        events.failed(error)
        look.failed()
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
