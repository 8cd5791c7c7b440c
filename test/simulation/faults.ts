// What can go wrong between the processes of the world, and how often.

export interface Faults {
  network: {
    /** The least and the most that a message takes. */
    latencyMs: readonly [number, number]
    /** Probabilities, for each request. */
    dropRequest: number
    /** After it was handled, and with it what it committed. */
    dropAnswer: number
    /** Delivered twice: of the two answers one arrives. */
    duplicate: number
    /** Cut while the plane holds it open, or in the middle of a stream. */
    reset: number
    /** Takes seconds. */
    delay: number
    /** A proxy answers in the plane's place, with 500, 502 or 503; half of the time it has passed the request on. */
    refuse: number
    /** Of the messages that are lost, how many leave the connection open without a word. */
    silence: number
  }
  sql: {
    latencyMs: readonly [number, number]
    /** Probabilities, for each statement. */
    failBefore: number
    /** The outcome is unknown: it did not run, or it did. */
    loseStatement: number
    loseAnswer: number
    rollBack: number
    slow: number
  }
}

export const NO_FAULTS: Faults = {
  network: {
    latencyMs: [1, 10],
    dropRequest: 0,
    dropAnswer: 0,
    duplicate: 0,
    reset: 0,
    delay: 0,
    refuse: 0,
    silence: 0,
  },
  sql: { latencyMs: [1, 4], failBefore: 0, loseStatement: 0, loseAnswer: 0, rollBack: 0, slow: 0 },
}
