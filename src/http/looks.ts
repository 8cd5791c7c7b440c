// When looks for jobs last found nothing, by what they looked for: while the bell is quiet since, nobody looks again.

/** More kinds of runners than a plane has; each is a few hundred bytes. */
const MAX_KINDS = 1_000

export interface Looks {
  /** When the last look for this began that found nothing; -Infinity where none is known. */
  inVainAtMs(asked: string): number
  inVain(asked: string, beganAtMs: number): void
}

export function newLooks(): Looks {
  const atMs = new Map<string, number>()
  return {
    inVainAtMs: (asked) => atMs.get(asked) ?? -Infinity,
    inVain(asked, beganAtMs) {
      atMs.delete(asked)
      atMs.set(asked, beganAtMs)
      const [oldest] = atMs.keys()
      if (atMs.size > MAX_KINDS && oldest !== undefined) atMs.delete(oldest)
    },
  }
}
