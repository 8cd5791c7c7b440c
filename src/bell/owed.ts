// Rings that a waiter was given, and that no look has answered yet: one that is not answered in time passes on.
//
//   ring ──▶ waiter ── joins again ── looks ── found nothing, or leaves      the ring is answered
//              └─ its process, its connection or its look is dead ── 1 s ──▶ the next waiter of the service
//
// Only a look that began after the ring answers it: that of a waiter which joined later, under the same claim.
import { later } from './alarm.ts'

/** A look takes milliseconds. Who takes so long is dead, or stuck. */
const LOOK_WITHIN_MS = 1_000

export interface OwedRing<Waiter> {
  waiter: Waiter
  claim: string
  service: string
  /**
   * It passed on from a look that goes on. Who looks is alive, and more often slow than stuck: where the database is slow
   * for all, passing on without end would be looks that slow it further.
   */
  isSpare: boolean
}

export interface OwedRings<Waiter> {
  rung(ring: OwedRing<Waiter>): void
  /** A waiter of the claim is about to look. Says whether a ring is owed. */
  joined(claim: string): boolean
  /** The look of a waiter is over. */
  looked(claim: string, waiter: Waiter): void
  /** The waiter goes, and will not look for what it was rung for: that passes on at once. */
  unheard(claim: string, waiter: Waiter): void
  /** Nothing passes on any more. */
  stop(): void
}

type Owed<Waiter> = OwedRing<Waiter> & { untilMs: number; isLooking: boolean }

export function owedRings<Waiter>(passOn: (ring: OwedRing<Waiter>) => void): OwedRings<Waiter> {
  const byClaim = new Map<string, Owed<Waiter>[]>()
  /** One for all of them, and none while nothing is owed: in a Durable Object, it stands in the way of hibernation. */
  let timer: ReturnType<typeof setTimeout> | undefined

  /** Takes those out that are meant. */
  function take(claim: string, isMeant: (ring: Owed<Waiter>) => boolean): Owed<Waiter>[] {
    const rings = byClaim.get(claim)
    if (rings === undefined) return []
    const kept = rings.filter((ring) => !isMeant(ring))
    if (kept.length > 0) byClaim.set(claim, kept)
    else byClaim.delete(claim)
    if (byClaim.size === 0) stopTimer()
    return rings.filter(isMeant)
  }

  function stopTimer(): void {
    clearTimeout(timer)
    timer = undefined
  }

  function passOnLate(): void {
    const nowMs = performance.now()
    const late = [...byClaim.keys()].flatMap((claim) => take(claim, ({ untilMs }) => untilMs <= nowMs))
    stopTimer()
    const nextMs = [...byClaim.values()].flat().reduce((least, { untilMs }) => Math.min(least, untilMs), Infinity)
    if (nextMs < Infinity) timer = later(passOnLate, Math.ceil(nextMs - nowMs))
    for (const { isLooking, ...ring } of late) {
      if (!isLooking) passOn(ring)
      else if (!ring.isSpare) passOn({ ...ring, isSpare: true })
    }
  }

  return {
    rung({ waiter, claim, service, isSpare }) {
      const ring = { waiter, claim, service, isSpare, untilMs: performance.now() + LOOK_WITHIN_MS, isLooking: false }
      const rings = byClaim.get(claim)
      if (rings === undefined) byClaim.set(claim, [ring])
      else rings.push(ring)
      timer ??= later(passOnLate, LOOK_WITHIN_MS)
    },
    joined(claim) {
      const rings = byClaim.get(claim) ?? []
      for (const ring of rings) ring.isLooking = true
      return rings.length > 0
    },
    looked(claim, waiter) {
      take(claim, (ring) => ring.isLooking && ring.waiter !== waiter)
    },
    unheard(claim, waiter) {
      for (const ring of take(claim, (owed) => owed.waiter === waiter)) passOn(ring)
    },
    stop() {
      byClaim.clear()
      stopTimer()
    },
  }
}
