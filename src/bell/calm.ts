// What a bell knows while calls come and go: that everything that became due since a look was told to somebody who looks. A
// poll can wait then, and look a moment later.
//
//   look that found nothing ── ring, taken ── ring, taken ── poll joins: it waits first
//   look that found nothing ── ring that nobody took ─────── poll joins: it looks
//
// Unlike quiet this is no promise: who died between a commit and its ring has told nobody. So the look is put off, not left
// out; and all of it is in memory, so that a bell which has just begun, or was evicted, knows of nothing.

/** More kinds, services and claims than are in use at a time. */
const MAX_KNOWN = 10_000

export interface Calm {
  /** Nobody took a ring for the service. */
  untaken(service: string): void
  /** A look of the kind that began then, in the terms of the same clock, found nothing. */
  foundNothing(kind: string, atMs: number): void
  /** Something may have been missed. */
  forget(): void
  /** A poll joins: whether it can wait first. One whose claim comes again may be after jobs that the first was given. */
  isCalm(claim: string, kind: string, services: readonly string[]): boolean
}

export function newCalm(now: () => number = () => performance.now()): Calm {
  const foundNothingAtMs = new Map<string, number>()
  const untakenAtMs = new Map<string, number>()
  const claims = new Map<string, true>()

  return {
    untaken(service) {
      const forgottenAtMs = remember(untakenAtMs, service, now())
      if (forgottenAtMs === undefined) return
      // Whoever looked before that one looks again.
      for (const [kind, atMs] of foundNothingAtMs) if (atMs <= forgottenAtMs) foundNothingAtMs.delete(kind)
    },
    foundNothing(kind, atMs) {
      remember(foundNothingAtMs, kind, atMs)
    },
    forget: () => foundNothingAtMs.clear(),
    isCalm(claim, kind, services) {
      const isAgain = claims.has(claim)
      remember(claims, claim, true)
      const atMs = foundNothingAtMs.get(kind)
      if (isAgain || atMs === undefined) return false
      return services.every((service) => atMs > (untakenAtMs.get(service) ?? -Infinity))
    },
  }
}

/** Puts it at the end, and drops the oldest where there are too many: that one's value, if so. */
function remember<T>(known: Map<string, T>, key: string, value: T): T | undefined {
  known.delete(key)
  known.set(key, value)
  if (known.size <= MAX_KNOWN) return undefined
  for (const [oldest, old] of known) {
    known.delete(oldest)
    return old
  }
  return undefined
}
