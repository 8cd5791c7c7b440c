// How a retry policy is kept in a row: with every default filled in, so that a statement can compute with it.
import { DEFAULT_ATTEMPTS, type RetryPolicy } from '../protocol/policy.ts'

/** What the column `jobs.retry` holds. A null column retries stalls alone. */
export interface StoredRetry {
  attempts: number
  on: string[]
  initialMs: number
  factor: number
  maxMs: number
  isJittered: boolean
}

export function storedRetry(policy: RetryPolicy): StoredRetry {
  return {
    attempts: policy.attempts ?? DEFAULT_ATTEMPTS,
    on: policy.on ?? ['stall', 'throw', 'timeout'],
    initialMs: policy.backoff?.initialMs ?? 1_000,
    factor: policy.backoff?.factor ?? 2,
    maxMs: policy.backoff?.maxMs ?? 60_000,
    isJittered: policy.backoff?.jitter !== 'none',
  }
}

/** The policy as the text of a jsonb, or null where there is none. */
export function retryColumn(policy: RetryPolicy | undefined): string | null {
  return policy === undefined ? null : JSON.stringify(storedRetry(policy))
}
