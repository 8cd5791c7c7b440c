// The list of endpoints: what the OpenAPI document and docs/protocol.md are checked against.
import { callAsJson, cancelCalls, createCalls, getCall, waitCalls } from './calls.ts'
import type { Endpoint } from './endpoint.ts'
import { listCalls } from './list-calls.ts'
import { createKey, listKeys, revokeKey } from './keys.ts'
import { listPeers } from './peers.ts'
import { redriveCalls } from './redrive-calls.ts'
import { leaveRunner, poll, registerRunner } from './runners.ts'
import { anything, answer, string } from './shape.ts'

/** An endpoint, whatever it reads and answers. */
export type AnyEndpoint = Endpoint<never, unknown> | Endpoint<unknown, unknown>

const health: Endpoint<never, unknown> = {
  method: 'GET',
  path: '/health',
  scope: null,
  summary: 'The process is alive; asks nothing of the database.',
  request: null,
  answer: answer({ status: string({ max: 10 }) }),
  form: 'json',
}
const ready: Endpoint<never, unknown> = {
  ...health,
  path: '/ready',
  summary: 'The database answers and has the schema that this build needs; else 503 and the reason.',
}
const metrics: Endpoint<never, unknown> = {
  ...health,
  path: '/metrics',
  scope: 'watch',
  summary: 'Counters and gauges of this process in the text format of Prometheus.',
  answer: string({ max: Number.MAX_SAFE_INTEGER }),
  form: 'text',
}
const openapi: Endpoint<never, unknown> = {
  ...health,
  path: '/openapi.json',
  summary: 'This interface as an OpenAPI document.',
  answer: anything('an OpenAPI 3.1 document'),
}

export const ENDPOINTS: Record<string, AnyEndpoint> = {
  createCalls,
  waitCalls,
  cancelCalls,
  redriveCalls,
  listCalls,
  getCall,
  callAsJson,
  registerRunner,
  poll,
  leaveRunner,
  createKey,
  listKeys,
  revokeKey,
  listPeers,
  health,
  ready,
  metrics,
  openapi,
}
