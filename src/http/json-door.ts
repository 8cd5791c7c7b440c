// /v1/call: for people without the SDK. A JSON array in, the result as JSON out.
import { Hono } from 'hono'
import { unknownCall } from '../jobs/find.ts'
import { newCallId } from '../protocol/call-id.ts'
import { decodePayload, encodePayload } from '../protocol/codec.ts'
import { argsDigest } from '../protocol/digest.ts'
import { CallplaneError, ERROR_CODES, type ErrorCode } from '../protocol/errors.ts'
import type { CallOutcome } from '../protocol/job.ts'
import { toJson } from '../protocol/json-value.ts'
import { MAX_WAIT_MS } from '../protocol/limits.ts'
import { checkName } from '../protocol/names.ts'
import { answering } from './answer.ts'
import { authorize, reachOf } from './auth.ts'
import { readJson } from './body.ts'
import { createJobs } from './calls.ts'
import type { HttpEnv, Plane } from './context.ts'
import { outcomes } from './outcomes.ts'

export function jsonDoorRoutes(plane: Plane): Hono<HttpEnv> {
  const app = new Hono<HttpEnv>()

  app.post('/:service/:function', async (c) => {
    const { service, function: functionName } = c.req.param()
    checkName('service', service)
    checkName('function', functionName)
    const principal = c.get('principal')
    authorize(principal, 'call', [service])
    const given = await readJson(c)
    if (!Array.isArray(given)) {
      throw new CallplaneError('invalid_json', 'the body must be a JSON array of the arguments, such as ["Ada"] or []')
    }
    const id = newCallId()
    const args = encodePayload(given, 'args')
    const { namespace } = principal
    const waiter = await plane.bell.join({ namespace, calls: [id] })
    try {
      const call = { id, service, function: functionName, args, argsDigest: await argsDigest(args) }
      const [created] = await createJobs(plane, namespace, [call])
      if (created !== undefined && 'error' in created) throw created.error
      const wait = { waiter, waitMs: MAX_WAIT_MS, signal: c.req.raw.signal, isNew: true }
      for await (const [ended] of outcomes(plane, reachOf(principal, 'call'), [id], wait)) {
        const outcome = ended?.outcome ?? null
        if (outcome === null) throw unknownCall(id)
        const { status, body } = outcomeAsJson(outcome)
        return answering(c).json(body as object, status, { 'callplane-call-id': id }) // any JSON value is a body
      }
    } finally {
      waiter.leave()
    }
    return answering(c).json({ id, state: 'unfinished', poll: `/v1/calls/${id}?wait=${MAX_WAIT_MS}` }, 202, {
      'callplane-call-id': id,
      location: `/v1/calls/${id}`,
    })
  })

  return app
}

const CODE_OF_END: Record<Exclude<CallOutcome['ended'], 'succeeded' | 'threw'>, ErrorCode> = {
  timed_out: 'call_timed_out',
  stalled: 'call_stalled',
  expired: 'call_expired',
  cancelled: 'call_cancelled',
}

function outcomeAsJson(outcome: CallOutcome): { status: 200 | 422 | 424; body: unknown } {
  if (outcome.ended === 'succeeded') return { status: 200, body: toJson(readPayload(outcome.result)) ?? null }
  if (outcome.ended !== 'threw') {
    return { status: 424, body: { error: { code: CODE_OF_END[outcome.ended], message: outcome.message } } }
  }
  const thrown = readPayload(outcome.error)
  // What the plane's own SDK says at the runner keeps its code: the arguments, not the function, are at fault.
  const code =
    thrown instanceof CallplaneError && ERROR_CODES[thrown.code].status === 424 ? thrown.code : 'function_failed'
  const { name, message } = describe(thrown)
  return { status: 424, body: { error: { code, name, message } } }
}

function readPayload(payload: Uint8Array): unknown {
  try {
    return decodePayload(payload)
  } catch (error) {
    if (error instanceof CallplaneError && error.code === 'encrypted') throw error
    throw new CallplaneError('function_failed', 'the runner answered bytes that are no payload', { cause: error })
  }
}

function describe(thrown: unknown): { name: string; message: string } {
  if (thrown instanceof Error) return { name: thrown.name, message: thrown.message }
  return { name: 'NonError', message: typeof thrown === 'string' ? thrown : JSON.stringify(toJson(thrown) ?? null) }
}
