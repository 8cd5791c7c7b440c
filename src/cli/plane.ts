// Asking a running plane for what the SDK's surface does not offer: one request, its answer or its error.
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Endpoint } from '../protocol/endpoint.ts'
import { fromWireError } from '../protocol/errors.ts'
import { decodeBody, encodeBody } from '../protocol/wire.ts'

function planeUrl(): string {
  return process.env['CALLPLANE_URL'] || 'http://127.0.0.1:8787'
}

/** CALLPLANE_KEY, else the key of the embedded plane in CALLPLANE_DIR. */
function planeKey(): string {
  const key = process.env['CALLPLANE_KEY']
  if (key) return key
  const file = join(resolve(process.env['CALLPLANE_DIR'] || '.callplane'), 'key')
  if (existsSync(file)) return readFileSync(file, 'utf8').trim()
  throw new Error(`no key: set CALLPLANE_KEY, or run "npm start" here first (there is no ${file})`)
}

export async function ask<Request, Answer>(endpoint: Endpoint<Request, Answer>, request: Request): Promise<Answer> {
  const response = await fetch(new URL(endpoint.path, planeUrl()), {
    method: endpoint.method,
    headers: {
      authorization: `Bearer ${planeKey()}`,
      'content-type': 'application/msgpack',
      accept: 'application/msgpack',
    },
    body: encodeBody(request),
  }).catch((cause: unknown) => {
    throw new Error(`no plane answers at ${planeUrl()}: start one with "npm start", or set CALLPLANE_URL`, { cause })
  })
  const body = decodeBody(new Uint8Array(await response.arrayBuffer()))
  if (!response.ok) throw errorOf(body)
  return endpoint.answer.parse(body, 'answer')
}

function errorOf(body: unknown): Error {
  const error = typeof body === 'object' && body !== null && 'error' in body ? body.error : undefined
  const isWireError = typeof error === 'object' && error !== null && 'code' in error && 'message' in error
  if (!isWireError) return new Error('the plane answered something that is no error of its own')
  return fromWireError({ code: String(error.code), message: String(error.message) })
}
