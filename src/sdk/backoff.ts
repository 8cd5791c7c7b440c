// When to try again: full jitter, so that clients that failed together do not come back together, and a budget, so that
// retries stay a small part of what a process sends.

/** A claim whose answer was lost holds jobs that wait: five losses in a row, and they start within two seconds. */
const FIRST_MS = 50
const LAST_MS = 5_000
/** A plane that asks for more is asked again all the same: it may have recovered since. */
const MAX_RETRY_AFTER_MS = 300_000

const MAX_TOKENS = 10
const TOKENS_PER_ANSWER = 0.1
/** The floor: a lone client that gets no answer at all may still retry once a second. */
const TOKENS_PER_MS = 1 / 1_000

/** Each answer pays for a tenth of a retry; what is not paid for waits. Shared by all that a plane's client sends. */
export class RetryBudget {
  #tokens = MAX_TOKENS
  #countedAtMs = performance.now()

  answered(): void {
    this.#tokens = Math.min(MAX_TOKENS, this.#tokens + TOKENS_PER_ANSWER)
  }

  /** Takes one retry, and returns how many milliseconds it must wait until it is paid for. */
  spend(): number {
    const nowMs = performance.now()
    const earned = (nowMs - this.#countedAtMs) * TOKENS_PER_MS
    this.#countedAtMs = nowMs
    // Debt is kept: of many retries that ask at once, each waits for its own token.
    this.#tokens = Math.min(MAX_TOKENS, this.#tokens + earned) - 1
    return Math.max(0, -this.#tokens / TOKENS_PER_MS)
  }
}

/** Counts the failures in a row of one thing that is tried again and again. */
export class Backoff {
  readonly #budget: RetryBudget
  failures = 0

  constructor(budget: RetryBudget) {
    this.#budget = budget
  }

  succeeded(): void {
    this.failures = 0
  }

  /** How many milliseconds to wait before the next try. `retryAfterMs` is what the plane asked for, 0 if nothing. */
  failed(retryAfterMs: number): number {
    const longestMs = Math.min(LAST_MS, FIRST_MS * 2 ** Math.min(this.failures, 10))
    this.failures++
    const jitterMs = Math.random() * longestMs
    if (retryAfterMs > 0) return Math.min(retryAfterMs, MAX_RETRY_AFTER_MS) + jitterMs
    return Math.max(jitterMs, this.#budget.spend())
  }
}
