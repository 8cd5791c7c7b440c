// Speaking the wire by hand, as a client in another language would.
import { newCallId } from '../../src/protocol/call-id.ts'
import type { CallFrame, CallRequest } from '../../src/protocol/calls.ts'
import { encodePayload } from '../../src/protocol/codec.ts'
import { argsDigest } from '../../src/protocol/digest.ts'
import { readFrames } from '../../src/protocol/frames.ts'
import { MAX_BODY_BYTES } from '../../src/protocol/limits.ts'
import type { ClaimedJob } from '../../src/protocol/runners.ts'
import { decodeBody, encodeBody } from '../../src/protocol/wire.ts'
import type { TestPlane } from './plane.ts'

/** Any plane that has what the SDK needs: in this process, or in workerd. */
export type WirePlane = Pick<TestPlane, 'options'>

export interface Reply {
  status: number
  body: unknown
  headers: Headers
}

/** Posts msgpack and reads the answer, whatever its form. */
export async function post(
  plane: WirePlane,
  path: string,
  body: object,
  key: string = plane.options.key,
): Promise<Reply> {
  return send(plane, path, encodeBody(body), key)
}

/** Posts bytes as they are. */
async function send(plane: WirePlane, path: string, body: Uint8Array, key: string = plane.options.key): Promise<Reply> {
  const response = await plane.options.fetch(plane.options.url + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/msgpack', accept: 'application/msgpack' },
    body: body as Uint8Array<ArrayBuffer>,
  })
  return { status: response.status, headers: response.headers, body: await read(response) }
}

async function read(response: Response): Promise<unknown> {
  if (response.headers.get('content-type') !== 'application/vnd.callplane.frames') {
    return decodeBody(new Uint8Array(await response.arrayBuffer()))
  }
  const frames: unknown[] = []
  if (response.body === null) return frames
  for await (const frame of readFrames(response.body, { maxFrameBytes: MAX_BODY_BYTES })) frames.push(frame)
  return frames
}

export async function aCall(options: Partial<CallRequest> & { values?: unknown[] } = {}): Promise<CallRequest> {
  const { values = [1], ...rest } = options
  const args = encodePayload(values, 'args')
  return { id: newCallId(), service: 'greeter', function: 'hello', args, argsDigest: await argsDigest(args), ...rest }
}

/** Creates calls and answers the frames. */
export async function create(plane: WirePlane, calls: CallRequest[], waitMs = 0): Promise<CallFrame[]> {
  const { status, body } = await post(plane, '/v1/calls', { calls, waitMs })
  if (status !== 200) throw new Error(`create answered ${status}: ${JSON.stringify(body)}`)
  return body as CallFrame[]
}

export interface PollOptions {
  runner?: string
  claimId?: string
  capacity?: number
  service?: string
  functions?: string[]
  waitMs?: number
  reports?: object[]
  heartbeats?: object[]
}

export interface PollReply {
  reports: { error?: { code: string } }[]
  heartbeats: { error?: { code: string } }[]
  jobs: ClaimedJob[]
}

const RUNNER = '11111111-1111-4111-8111-111111111111'

/** One poll of a runner. */
export async function pollOnce(plane: WirePlane, options: PollOptions = {}): Promise<PollReply> {
  const { runner = RUNNER, claimId = crypto.randomUUID(), capacity = 10, service = 'greeter' } = options
  const { functions = ['hello'], waitMs = 0, reports = [], heartbeats = [] } = options
  const services = [{ name: service, functions, capacity }]
  const claim = capacity > 0 ? { claim: { id: claimId, waitMs, services } } : {}
  const { status, body } = await post(plane, '/v1/runners/poll', { runner, reports, heartbeats, ...claim })
  if (status !== 200) throw new Error(`poll answered ${status}: ${JSON.stringify(body)}`)
  return body as PollReply
}

export function succeeded(job: ClaimedJob, value: unknown): object {
  return { ended: 'succeeded', id: job.id, token: job.token, result: encodePayload(value, 'result') }
}

export function threw(job: ClaimedJob, error: unknown, isRetryable = true): object {
  return { ended: 'threw', id: job.id, token: job.token, error: encodePayload(error, 'error'), isRetryable }
}
