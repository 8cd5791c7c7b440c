// After an outage every lease has run out, and its runner may well be alive: it gets a while to say so.

/** The database was away for longer than a hiccup. */
const OUTAGE_MS = 5_000
/** Longer than runners wait between two tries: their heartbeats come first then. */
const GRACE_MS = 10_000

export interface Outage {
  failed(): void
  /** The database has answered. For how many milliseconds leases that ran out are still spared. */
  answered(): number
  /** A process that begins knows nothing of the time before: the plane may have been away. */
  begin(): void
}

export function newOutage(): Outage {
  let failingSinceMs: number | null = null
  let graceUntilMs = -Infinity
  return {
    failed() {
      failingSinceMs ??= performance.now()
    },
    answered() {
      const nowMs = performance.now()
      if (failingSinceMs !== null && nowMs - failingSinceMs > OUTAGE_MS) graceUntilMs = nowMs + GRACE_MS
      failingSinceMs = null
      return Math.max(0, Math.ceil(graceUntilMs - nowMs))
    },
    begin() {
      graceUntilMs = performance.now() + GRACE_MS
    },
  }
}
