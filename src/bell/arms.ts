// What one process knows of the arms of a bell: until when somebody may commit something of which it has not heard.

/** Renewed when half of it is over. */
export const ARM_MS = 60_000

export interface Arms {
  /** Somebody, here or elsewhere, may be writing from now on. */
  arm(): void
  isQuietSince(atMs: number): boolean
  armedForMs(): number
}

/** A process that has just begun knows of no arm, and so believes that there is one. */
export function newArms(): Arms {
  let untilMs = performance.now() + ARM_MS
  return {
    arm() {
      untilMs = performance.now() + ARM_MS
    },
    isQuietSince: (atMs) => performance.now() > untilMs && atMs > untilMs,
    armedForMs() {
      const leftMs = untilMs - performance.now()
      return leftMs > 0 ? leftMs : Number.POSITIVE_INFINITY
    },
  }
}
