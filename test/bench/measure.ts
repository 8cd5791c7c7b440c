// How a benchmark measures: one after another, or so many in flight for a while.

export interface Latencies {
  p50Ms: number
  p99Ms: number
}

/** Runs `once` again and again, one at a time. */
export async function oneByOne(once: () => Promise<unknown>, { count }: { count: number }): Promise<Latencies> {
  const times: number[] = []
  for (let n = 0; n < count; n++) {
    const beganMs = performance.now()
    await once()
    times.push(performance.now() - beganMs)
  }
  return { p50Ms: percentile(times, 0.5), p99Ms: percentile(times, 0.99) }
}

/** Keeps `inFlight` of them running for `forMs`, after a warm-up of a quarter of that; how many ended a second. */
export async function closedLoop(
  once: () => Promise<unknown>,
  { inFlight, forMs, begin, end }: { inFlight: number; forMs: number; begin?: () => void; end?: () => void },
): Promise<{ perSecond: number; count: number }> {
  const beganMs = performance.now()
  const fromMs = beganMs + forMs / 4
  const untilMs = fromMs + forMs
  let count = 0
  const timer = setTimeout(() => begin?.(), forMs / 4)
  const lane = async () => {
    while (performance.now() < untilMs) {
      await once()
      const nowMs = performance.now()
      if (nowMs >= fromMs && nowMs < untilMs) count++
    }
  }
  await Promise.all(Array.from({ length: inFlight }, lane))
  clearTimeout(timer)
  end?.()
  return { perSecond: (count / forMs) * 1_000, count }
}

/** How many of `total` a second, `inFlight` at a time. */
export async function burst(
  once: (n: number) => Promise<unknown>,
  { inFlight, total }: { inFlight: number; total: number },
): Promise<number> {
  const beganMs = performance.now()
  let next = 0
  const lane = async () => {
    while (next < total) await once(next++)
  }
  await Promise.all(Array.from({ length: inFlight }, lane))
  return (total / (performance.now() - beganMs)) * 1_000
}

export function percentile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN
}

export function median(values: readonly number[]): number {
  return percentile(values, 0.5)
}
