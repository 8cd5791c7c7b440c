// Reaching a running plane: through the SDK, or by one request for what the SDK's surface does not offer.
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Endpoint } from '../protocol/endpoint.ts'
import { fromWireError } from '../protocol/errors.ts'
import { decodeBody, encodeBody } from '../protocol/wire.ts'
import { Callplane } from '../sdk/index.ts'

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

/** What the command does with the SDK. Says at once where no plane answers, which the SDK would wait out. */
export async function withPlane<T>(use: (plane: Callplane) => Promise<T>): Promise<T> {
  const [url, key] = [planeUrl(), planeKey()]
  const plane = new Callplane({ url, key })
  await fetch(new URL('health', `${url.replace(/\/+$/, '')}/`)).catch((cause: unknown) => {
    throw nobodyAnswers(url, cause)
  })
  try {
    return await use(plane)
  } finally {
    await plane.close()
  }
}

function nobodyAnswers(url: string, cause: unknown): Error {
  return new Error(`no plane answers at ${url}: start one with "npm start", or set CALLPLANE_URL`, { cause })
}

/** Without a request where the endpoint reads none. */
export async function ask<Request, Answer>(endpoint: Endpoint<Request, Answer>, request?: Request): Promise<Answer> {
  const response = await fetch(new URL(endpoint.path, planeUrl()), {
    method: endpoint.method,
    headers: {
      authorization: `Bearer ${planeKey()}`,
      'content-type': 'application/msgpack',
      accept: 'application/msgpack',
    },
    ...(endpoint.request === null ? {} : { body: encodeBody(request) }),
  }).catch((cause: unknown) => {
    throw nobodyAnswers(planeUrl(), cause)
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
