// The sweep: what time alone does to jobs. One bounded statement per duty, safe to run many at once.
import type { Sql } from '../db/sql.ts'
import { expireJobs } from './expire.ts'
import type { Moved } from './moved.ts'
import { retryStalledJobs } from './stall.ts'

/** Bounds the locks that one statement takes; what is left over is the next statement's. */
const LIMIT = 500

/**
 * Runs every duty until nothing is left of it, at most `rounds` statements each, and tells of the jobs that each statement
 * moved, as soon as it has. Rules over all namespaces.
 */
export async function* sweep(sql: Sql, { rounds = 20 }: { rounds?: number } = {}): AsyncGenerator<Moved[]> {
  for (const duty of [expireJobs, retryStalledJobs]) {
    for (let round = 0; round < rounds; round++) {
      const moved = await duty(sql, { limit: LIMIT })
      if (moved.length > 0) yield moved
      if (moved.length < LIMIT) break
    }
  }
}
