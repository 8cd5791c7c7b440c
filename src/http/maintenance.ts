// The sweep as the hosts run it: move what time has moved, count it, ring for it.
import { sweep } from '../jobs/sweep.ts'
import type { Plane } from './context.ts'

/** One turn of the sweep over all namespaces; answers how many jobs it moved. */
export async function maintain(plane: Plane): Promise<number> {
  const moved = await sweep(plane.sql)
  for (const [namespace, jobs] of Map.groupBy(moved, (job) => job.namespace)) {
    const pending = jobs.filter((job) => job.state === 'pending')
    const failed = jobs.filter((job) => job.state === 'failed')
    plane.metrics.count('callplane_jobs_swept_total', { to: 'pending' }, pending.length)
    plane.metrics.count('callplane_jobs_swept_total', { to: 'failed' }, failed.length)
    plane.log({ level: 'info', event: 'swept', namespace, retried: pending.length, failed: failed.length })
    await plane.bell.ring({
      namespace,
      due: pending.map(({ service, due_in_ms }) => ({ service, jobs: 1, inMs: due_in_ms })),
      ended: failed.map(({ id }) => ({ id, outcome: null })),
    })
  }
  return moved.length
}
