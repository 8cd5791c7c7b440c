// That a runner is there: written with its work, and seldom.

/** A row that is this old tells nothing wrong: runners are forgotten after days. */
const SEEN_EVERY_MS = 3_600_000
const MAX_SEEN = 10_000

/** Whether the runner was not asked about within the hour. Remembers the newest only: too much is written, never too little. */
export function presence(): (namespace: string, runner: string) => boolean {
  const seenAtMs = new Map<string, number>()
  return (namespace, runner) => {
    const key = `${namespace} ${runner}`
    const nowMs = performance.now()
    if (nowMs - (seenAtMs.get(key) ?? -Infinity) < SEEN_EVERY_MS) return false
    seenAtMs.delete(key)
    seenAtMs.set(key, nowMs)
    const [oldest] = seenAtMs.keys()
    if (seenAtMs.size > MAX_SEEN && oldest !== undefined) seenAtMs.delete(oldest)
    return true
  }
}
