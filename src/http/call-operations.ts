// /v1/calls for those who operate: list calls, run them anew.
import { Hono } from 'hono'
import { beginRedrive, findRedrivable, type RedriveCursor } from '../jobs/find-redrivable.ts'
import type { Reach } from '../jobs/find.ts'
import { listJobs, type ListedJob } from '../jobs/list.ts'
import { redriveJobs, type Redriven } from '../jobs/redrive.ts'
import { CallplaneError, toWireError } from '../protocol/errors.ts'
import { parseListCallsQuery, type CallFilter, type CallSummary } from '../protocol/list-calls.ts'
import { MAX_REDRIVE } from '../protocol/limits.ts'
import { redriveCallsRequest } from '../protocol/redrive-calls.ts'
import { either, msgpack } from './answer.ts'
import { authorize, reachOf } from './auth.ts'
import { readMsgpack } from './body.ts'
import { instant, lineOf } from './call-status.ts'
import { distinct, tellOfCreated } from './calls.ts'
import type { HttpEnv, Plane } from './context.ts'

const DEFAULT_LIMIT = 50

export function callOperationRoutes(plane: Plane): Hono<HttpEnv> {
  const app = new Hono<HttpEnv>()

  app.get('/', async (c) => {
    const principal = c.get('principal')
    authorize(principal, 'watch')
    const { limit = DEFAULT_LIMIT, cursor = null, ...filter } = parseListCallsQuery(c.req.query())
    const { items, next } = await listJobs(plane.sql, reachOf(principal, 'watch'), filter, { after: cursor, limit })
    return either(c, { calls: items.map(summaryOf), ...(next === null ? {} : { next }) })
  })

  app.post('/redrive', async (c) => {
    const { ids, filter, cursor } = await readMsgpack(c, redriveCallsRequest)
    const principal = c.get('principal')
    if ((ids === undefined) === (filter === undefined) || (cursor !== undefined && filter === undefined)) {
      throw new CallplaneError('invalid_request', 'a redrive names either ids or a filter; a cursor goes with a filter')
    }
    // By id one needs what one needs to call. By a filter, one need not even know which calls there are.
    const scope = filter === undefined ? 'call' : 'admin'
    authorize(principal, scope)
    const reach = reachOf(principal, scope)
    if (filter === undefined) {
      return msgpack(c, { calls: (await redrive(plane, reach, distinct(ids ?? []))).map(answerOf) })
    }
    const step = await redriveStep(plane, reach, filter, cursor)
    const made = step.calls.filter((one) => 'isNew' in one && one.isNew).length
    if (made > 0) {
      const { keyId, namespace } = principal
      plane.log({ level: 'info', event: 'calls_redriven', namespace, by: keyId, calls: made })
    }
    return msgpack(c, { calls: step.calls.map(answerOf), ...(step.next === null ? {} : { next: textOf(step.next) }) })
  })

  return app
}

/** The first step finds out when the run began, and nothing else: so every step that changes something can be repeated. */
async function redriveStep(
  plane: Plane,
  reach: Reach,
  filter: CallFilter,
  cursor: string | undefined,
): Promise<{ calls: Redriven[]; next: RedriveCursor | null }> {
  if (cursor === undefined) return { calls: [], next: await beginRedrive(plane.sql) }
  const options = { cursor: cursorOf(cursor), limit: MAX_REDRIVE }
  const { ids, next } = await findRedrivable(plane.sql, reach, filter, options)
  return { calls: await redrive(plane, reach, ids), next }
}

/** Makes the heirs and tells of them. */
async function redrive(plane: Plane, reach: Reach, ids: readonly string[]): Promise<Redriven[]> {
  if (ids.length === 0) return []
  const all = await redriveJobs(plane.sql, reach, ids)
  const heirs = all.flatMap((one) => ('redrivenAs' in one ? [{ ...one, inMs: 0, isClaimed: false }] : []))
  await tellOfCreated(plane, reach.namespace, heirs)
  return all
}

function answerOf(one: Redriven) {
  if ('error' in one) return { id: one.id, error: toWireError(one.error) }
  return { id: one.id, redrivenAs: one.redrivenAs, isNew: one.isNew }
}

function textOf({ beganAtMs, afterId }: RedriveCursor): string {
  return `${beganAtMs}.${afterId}`
}

function cursorOf(text: string): RedriveCursor {
  const [, beganAtMs, afterId] = /^(\d{1,15})\.([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/.exec(text) ?? []
  if (beganAtMs === undefined || afterId === undefined) {
    throw new CallplaneError('invalid_request', 'the cursor is none that a redrive answered: begin without one')
  }
  return { beganAtMs: Number(beganAtMs), afterId }
}

function summaryOf(job: ListedJob): CallSummary {
  return {
    id: job.id,
    service: job.service,
    function: job.function,
    state: job.state,
    ...(job.failure === null ? {} : { failure: job.failure }),
    attempt: job.attempt,
    maxAttempts: job.maxAttempts,
    createdAt: instant(job.createdAtMs),
    ...(job.state === 'pending' ? { runAt: instant(job.runAtMs) } : {}),
    ...(job.startedAtMs === null ? {} : { startedAt: instant(job.startedAtMs) }),
    ...(job.finishedAtMs === null ? {} : { finishedAt: instant(job.finishedAtMs) }),
    ...(job.runner === null ? {} : { runner: job.runner }),
    ...(job.parent === null ? {} : { parent: job.parent }),
    ...lineOf(job),
  }
}
