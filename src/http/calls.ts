// /v1/calls: make calls, wait for them, cancel them, ask how one stands.
import { Hono, type Context } from 'hono'
import { dueOf, type Waiter } from '../bell/bell.ts'
import { cancelJobs } from '../jobs/cancel.ts'
import type { Enqueued } from '../jobs/enqueue.ts'
import { findJob, unknownCall } from '../jobs/find.ts'
import type { CallFrame, CallRequest } from '../protocol/calls.ts'
import { cancelCallsRequest, createCallsRequest, waitCallsRequest } from '../protocol/calls.ts'
import { CallplaneError, toWireError } from '../protocol/errors.ts'
import { encodeFrames } from '../protocol/frames.ts'
import { MAX_WAIT_MS } from '../protocol/limits.ts'
import { uuid } from '../protocol/shape.ts'
import { answering, msgpack, readsMsgpack } from './answer.ts'
import { authorize, reachOf } from './auth.ts'
import { readMsgpack } from './body.ts'
import { callStatus, callStatusAsJson } from './call-status.ts'
import type { HttpEnv, Plane } from './context.ts'
import { outcomes, type Ended } from './outcomes.ts'

export function callRoutes(plane: Plane): Hono<HttpEnv> {
  const app = new Hono<HttpEnv>()

  app.post('/', async (c) => {
    const { calls, waitMs = 0 } = await readMsgpack(c, createCallsRequest)
    const principal = c.get('principal')
    authorize(principal, 'call', new Set(calls.map((call) => call.service)))
    const ids = distinct(calls.map((call) => call.id))
    const { namespace } = principal
    const waiter = waitMs > 0 ? await plane.bell.join({ namespace, calls: ids }) : null
    try {
      const enqueued = await createJobs(plane, namespace, calls)
      const accepted = { accepted: enqueued.map(acceptance) }
      const open = enqueued.filter((one) => !('error' in one))
      if (waiter === null) return frames(c, [accepted, { isComplete: true }])
      const isNew = open.every((one) => 'isNew' in one && one.isNew)
      const wait = { ids: open.map((one) => one.id), waiter, waitMs, isNew }
      return await outcomeFrames(plane, c, [accepted], wait)
    } catch (error) {
      waiter?.leave()
      throw error
    }
  })

  app.post('/wait', async (c) => {
    const { ids, waitMs = 0 } = await readMsgpack(c, waitCallsRequest)
    const principal = c.get('principal')
    authorize(principal, 'call')
    const waiter = await plane.bell.join({ namespace: principal.namespace, calls: distinct(ids) })
    return outcomeFrames(plane, c, [], { ids, waiter, waitMs, isNew: false })
  })

  app.post('/cancel', async (c) => {
    const { ids, reason = 'the caller cancelled the call' } = await readMsgpack(c, cancelCallsRequest)
    const principal = c.get('principal')
    authorize(principal, 'call')
    const cancelled = await cancelJobs(plane.sql, reachOf(principal, 'call'), distinct(ids), reason)
    const first = cancelled.filter((one) => one.isFirst)
    plane.metrics.count('callplane_jobs_ended_total', { how: 'cancelled' }, first.length)
    const ended = cancelled.filter((one) => one.state === 'cancelled')
    await plane.bell.ring({ namespace: principal.namespace, ended: ended.map(({ id }) => ({ id, outcome: null })) })
    return msgpack(c, {
      calls: cancelled.map(({ id, state }) =>
        state === null ? { id, error: toWireError(unknownCall(id)) } : { id, state },
      ),
    })
  })

  app.get('/:id', async (c) => {
    const principal = c.get('principal')
    authorize(principal, 'call')
    const reach = reachOf(principal, 'call')
    const id = uuid().parse(c.req.param('id').toLowerCase(), 'the id in the path')
    const waitMs = Math.min(Math.max(Number(c.req.query('wait') ?? 0) || 0, 0), MAX_WAIT_MS)
    if (waitMs > 0) {
      const waiter = await plane.bell.join({ namespace: principal.namespace, calls: [id] })
      try {
        const wait = { waiter, waitMs, signal: c.req.raw.signal, isNew: false }
        for await (const _ of outcomes(plane, reach, [id], wait)) break
      } finally {
        waiter.leave()
      }
    }
    const job = await findJob(plane.sql, reach, id)
    if (job === null) throw unknownCall(id)
    return readsMsgpack(c) ? msgpack(c, callStatus(job)) : answering(c).json(callStatusAsJson(job))
  })

  return app
}

/** Makes the jobs and tells of them. */
export async function createJobs(plane: Plane, namespace: string, calls: readonly CallRequest[]): Promise<Enqueued[]> {
  const enqueued = await plane.transitions.enqueue(namespace, calls)
  const created = calls.flatMap(({ service, delayMs = 0 }, index) => {
    const one = enqueued[index]
    return one === undefined || 'error' in one
      ? []
      : [{ ...one, service, inMs: delayMs, isClaimed: one.claimed !== null }]
  })
  await tellOfCreated(plane, namespace, created)
  return enqueued
}

/** A job that was asked for, made now or before. Its deadline is known where it is new. */
interface Created {
  service: string
  inMs: number
  isNew: boolean
  deadlineInMs: number | null
  /** Handed over already: nobody needs to look for it. */
  isClaimed: boolean
}

/**
 * After the commit: counts what is new, rings for all, and sets the alarm for the first deadline. It rings for repeats
 * too, since the first request may have died between its commit and its ring.
 */
export async function tellOfCreated(plane: Plane, namespace: string, created: readonly Created[]): Promise<void> {
  plane.metrics.count('callplane_calls_created_total', {}, created.filter((one) => one.isNew).length)
  await plane.bell.ring({ namespace, due: dueOf(created.filter((one) => !one.isClaimed)) })
  const deadlines = created.flatMap(({ deadlineInMs }) => (deadlineInMs === null ? [] : [deadlineInMs]))
  if (deadlines.length > 0) await plane.bell.alarm(Math.min(...deadlines))
}

function acceptance(one: Enqueued) {
  return 'error' in one ? { id: one.id, error: toWireError(one.error) } : { id: one.id }
}

export function distinct(ids: readonly string[]): readonly string[] {
  if (new Set(ids).size !== ids.length) {
    throw new CallplaneError('invalid_request', 'an id stands twice in the request: each call needs an id of its own')
  }
  return ids
}

function endedFrame({ id, outcome }: Ended): CallFrame {
  return outcome === null ? { id, error: toWireError(unknownCall(id)) } : { id, outcome }
}

const FRAMES_TYPE = 'application/vnd.callplane.frames'

function frames(c: Context<HttpEnv>, all: readonly CallFrame[]): Response {
  return answering(c).body(encodeFrames(all), 200, { 'content-type': FRAMES_TYPE })
}

/** The first frames at once, then outcomes as they come. One call alone is answered whole: nothing to stream. */
async function outcomeFrames(
  plane: Plane,
  c: Context<HttpEnv>,
  first: readonly CallFrame[],
  { ids, waiter, waitMs, isNew }: { ids: readonly string[]; waiter: Waiter; waitMs: number; isNew: boolean },
): Promise<Response> {
  const reach = reachOf(c.get('principal'), 'call')
  if (ids.length <= 1) {
    try {
      const rest: CallFrame[] = []
      const alone = { waiter, waitMs, signal: c.req.raw.signal, isNew }
      for await (const some of outcomes(plane, reach, ids, alone)) rest.push(...some.map(endedFrame))
      return frames(c, [...first, ...rest, { isComplete: rest.length === ids.length }])
    } finally {
      waiter.leave()
    }
  }
  const given = new AbortController()
  const signal = AbortSignal.any([given.signal, c.req.raw.signal])
  const ended = outcomes(plane, reach, ids, { waiter, waitMs, signal, isNew })
  // Driven from here and not by the reader's pulls: statements run in the context of this request.
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>()
  const writer = writable.getWriter()
  // The reader has gone: nothing is waited for any more.
  writer.closed.catch(() => given.abort())
  const drive = async () => {
    try {
      // What is there at once is one chunk: each costs a system call here, and a wake-up there.
      await writer.write(encodeFrames(first))
      let left = ids.length
      for await (const some of ended) {
        left -= some.length
        const last = left === 0 ? [{ isComplete: true }] : []
        await writer.write(encodeFrames([...some.map(endedFrame), ...last]))
      }
      if (left > 0) await writer.write(encodeFrames([{ isComplete: false }]))
      await writer.close()
    } catch (error) {
      // The head is long sent: a stream without its last frame tells the client to wait anew.
      if (!signal.aborted)
        plane.log({ level: 'warn', event: 'stream_cut', requestId: c.get('requestId'), detail: String(error) })
      await writer.abort(error).catch(() => {})
    } finally {
      waiter.leave()
    }
  }
  void drive()
  // Proxies that buffer would hold back the outcomes until the last one.
  const headers = { 'content-type': FRAMES_TYPE, 'x-accel-buffering': 'no' }
  return answering(c, { cacheControl: 'no-store, no-transform' }).body(readable, 200, headers)
}
