// A job as its claim hands it out: the row, and what the runner is told of it.
import type { ClaimedJob } from '../protocol/runners.ts'

export interface RunnerRef {
  namespace: string
  id: string
}

export type ClaimedRow = {
  id: string
  service: string
  function: string
  args: Uint8Array
  token: string
  attempt: number
  max_attempts: number
  fence: number
  lease_left_ms: number
  timeout_left_ms: number | null
  retry_on: string[] | null
  parent_id: string | null
}

export function toClaimedJob(row: ClaimedRow): ClaimedJob {
  return {
    id: row.id,
    service: row.service,
    function: row.function,
    args: row.args,
    token: row.token,
    attempt: row.attempt,
    maxAttempts: row.max_attempts,
    fence: row.fence,
    leaseMs: Math.max(0, row.lease_left_ms),
    ...(row.timeout_left_ms === null ? {} : { timeoutMs: Math.max(0, row.timeout_left_ms) }),
    ...(row.retry_on === null ? {} : { retryOn: row.retry_on }),
    ...(row.parent_id === null ? {} : { parent: row.parent_id }),
  }
}
