// The alarm of one process: a single timer, at the next time at which something is overdue.

/** The sweep is over in milliseconds; what is left overdue then is locked by another, or has just come. */
const AGAIN_MS = 250
/** After the database did not answer. */
const AFTER_FAILURE_MS = 1_000
/** What a timer can hold. */
const MAX_TIMER_MS = 2 ** 31 - 1

export interface SweepAlarm {
  /** Runs the sweep in so many milliseconds, unless it is set to run sooner. */
  by(inMs: number): void
  stop(): void
}

/** Runs `sweep`, never two at once, and each time sets itself to when `sweep` says that it is wanted next. */
export function sweepAlarm(sweep: () => Promise<number | null>): SweepAlarm {
  let atMs = Infinity
  let timer: ReturnType<typeof setTimeout> | undefined
  let isRunning = false
  let isOver = false

  function by(inMs: number): void {
    const wantedMs = performance.now() + inMs
    if (isOver || wantedMs >= atMs) return
    atMs = wantedMs
    // While it runs, the time is kept: the timer is set when it is known what is left.
    if (!isRunning) set()
  }

  function set(): void {
    clearTimeout(timer)
    if (atMs === Infinity || isOver) return
    timer = later(() => void run(), Math.min(Math.max(0, Math.ceil(atMs - performance.now())), MAX_TIMER_MS))
  }

  async function run(): Promise<void> {
    isRunning = true
    atMs = Infinity
    let nextMs: number | null = AFTER_FAILURE_MS
    try {
      nextMs = await sweep()
    } catch {
      // Told by the sweep itself.
    }
    isRunning = false
    if (nextMs !== null) atMs = Math.min(atMs, performance.now() + Math.max(nextMs, AGAIN_MS))
    set()
  }

  return {
    by,
    stop() {
      isOver = true
      set()
    },
  }
}

/** A timer that does not keep the process alive, on runtimes that have processes. */
export function later(run: () => void, ms: number): ReturnType<typeof setTimeout> {
  const timer = setTimeout(run, ms)
  if (typeof timer === 'object') timer.unref()
  return timer
}
