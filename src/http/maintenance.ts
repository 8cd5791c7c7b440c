// The sweep as the hosts run it: move what time has moved, count it, ring for it.
import { dueOf } from '../bell/bell.ts'
import type { Moved } from '../jobs/moved.ts'
import { sweep } from '../jobs/sweep.ts'
import type { Plane } from './context.ts'

/** One turn of the sweep over all namespaces. */
export async function maintain(plane: Plane): Promise<void> {
  for await (const moved of sweep(plane.sql)) {
    for (const [namespace, jobs] of Map.groupBy(moved, (job) => job.namespace)) await tell(plane, namespace, jobs)
  }
}

async function tell(plane: Plane, namespace: string, jobs: readonly Moved[]): Promise<void> {
  const pending = jobs.filter((job) => job.state === 'pending')
  const failed = jobs.filter((job) => job.state === 'failed')
  plane.metrics.count('callplane_jobs_swept_total', { to: 'pending' }, pending.length)
  plane.metrics.count('callplane_jobs_swept_total', { to: 'failed' }, failed.length)
  plane.log({ level: 'info', event: 'swept', namespace, retried: pending.length, failed: failed.length })
  await plane.bell.ring({
    namespace,
    due: dueOf(pending.map(({ service, due_in_ms }) => ({ service, inMs: due_in_ms }))),
    ended: failed.map(({ id }) => ({ id, outcome: null })),
  })
}
