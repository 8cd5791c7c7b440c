// Asking a bell that may not answer: nobody waits for it for longer than a second.
import { answeredWithin } from '../protocol/object-message.ts'

/** A bell that does not answer by then is not waited for: what was committed is found by a look. */
const BELL_WITHIN_MS = 1_000
/** Within that time, what follows a commit is told again after so long, then twice as long, and so on: three times. */
const AGAIN_AFTER_MS = 100

export function inTime<T>(answer: Promise<T>): Promise<T> {
  return answeredWithin(BELL_WITHIN_MS, answer, 'the bell')
}

/**
 * An object that has just moved answers the second time, one with too much to do a moment later; a ring that is lost costs its
 * waiter the whole poll. Told twice, it wakes one more, who looks in vain.
 */
export async function untilHeard(tell: () => Promise<void>): Promise<void> {
  const beganMs = performance.now()
  for (let pauseMs = AGAIN_AFTER_MS; ; pauseMs *= 2) {
    try {
      return await tell()
    } catch (error) {
      if (performance.now() - beganMs + pauseMs >= BELL_WITHIN_MS) throw error
    }
    await new Promise((resolve) => setTimeout(resolve, pauseMs))
  }
}
