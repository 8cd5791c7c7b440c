// The requests that the SDK sends: where each goes, what it carries, what it answers. The types are the protocol's own; its
// parsers stay with the plane, since they would be a seventh of the SDK: an answer that lacks a field counts as none. A
// test holds the paths to the protocol's list of endpoints.
import type { cancelCalls, createCalls, getCall, waitCalls } from '../protocol/calls.ts'
import type { Endpoint } from '../protocol/endpoint.ts'
import type { listCalls } from '../protocol/list-calls.ts'
import type { redriveCalls } from '../protocol/redrive-calls.ts'
import type { leaveRunner, poll, registerRunner } from '../protocol/runners.ts'

export interface Route<Request, Answer> {
  readonly path: string
  /** Never there: they carry the types. */
  readonly request?: Request
  readonly answer?: Answer
}

type RouteOf<E> = E extends Endpoint<infer Request, infer Answer> ? Route<Request, Answer> : never

export type AnswerOf<R> = R extends { readonly answer?: infer Answer } ? Answer : never

export const CREATE_CALLS: RouteOf<typeof createCalls> = { path: '/v1/calls' }
export const WAIT_CALLS: RouteOf<typeof waitCalls> = { path: '/v1/calls/wait' }
export const CANCEL_CALLS: RouteOf<typeof cancelCalls> = { path: '/v1/calls/cancel' }
export const REDRIVE_CALLS: RouteOf<typeof redriveCalls> = { path: '/v1/calls/redrive' }
export const REGISTER_RUNNER: RouteOf<typeof registerRunner> = { path: '/v1/runners/register' }
export const POLL: RouteOf<typeof poll> = { path: '/v1/runners/poll' }
export const LEAVE_RUNNER: RouteOf<typeof leaveRunner> = { path: '/v1/runners/leave' }

/** Read by GET: it carries nothing. */
export function getCallRoute(id: string): RouteOf<typeof getCall> {
  return { path: `/v1/calls/${id}` }
}

/** Read by GET: what it asks for stands behind the question mark. */
export function listCallsRoute(query: URLSearchParams): RouteOf<typeof listCalls> {
  return { path: `/v1/calls?${query}` }
}
