// What one process knows of the arms of a bell: until when somebody may commit something of which it has not heard.

/** How long an arm lasts. A writer makes it anew when half of it is over. */
export const ARM_MS = 60_000
/** More kinds of runners than a plane has; each is a few hundred bytes. */
const MAX_KINDS = 1_000

export interface Arms {
  /** Somebody, here or elsewhere, may be writing from now on. */
  arm(): void
  /** Whether no arm is live, and none was at that time or after it. */
  isQuietSince(atMs: number): boolean
  /** Whether this is known of looks of the kind. */
  isQuiet(kind: string): boolean
  /** A look of the kind that began then found nothing. */
  foundNothing(kind: string, atMs: number): void
}

/** A process that has just begun knows of no arm, and so believes that there is one. */
export function newArms(): Arms {
  let untilMs = performance.now() + ARM_MS
  const foundNothingAtMs = new Map<string, number>()
  const isQuietSince = (atMs: number) => performance.now() > untilMs && atMs > untilMs
  return {
    arm() {
      untilMs = performance.now() + ARM_MS
    },
    isQuietSince,
    isQuiet: (kind) => isQuietSince(foundNothingAtMs.get(kind) ?? -Infinity),
    foundNothing(kind, atMs) {
      foundNothingAtMs.delete(kind)
      foundNothingAtMs.set(kind, atMs)
      const [oldest] = foundNothingAtMs.keys()
      if (foundNothingAtMs.size > MAX_KINDS && oldest !== undefined) foundNothingAtMs.delete(oldest)
    },
  }
}
