// Reading bodies: the content type first, then bytes counted as they stream in, then the scan, the decode and the parse.
import type { Context } from 'hono'
import { CallplaneError } from '../protocol/errors.ts'
import { MAX_BODY_BYTES } from '../protocol/limits.ts'
import type { Shape } from '../protocol/shape.ts'
import { decodeBody } from '../protocol/wire.ts'
import type { HttpEnv } from './context.ts'

export const MSGPACK = 'application/msgpack'

/** The request's msgpack body as the shape says; anything else is an error that names what is wrong. */
export async function readMsgpack<T>(c: Context<HttpEnv>, shape: Shape<T>): Promise<T> {
  const type = mediaType(c.req.header('content-type'))
  if (type !== MSGPACK) {
    throw new CallplaneError(
      'unsupported_media_type',
      `${c.req.path} reads ${MSGPACK}, not ${type || 'a body without a type'}`,
    )
  }
  return shape.parse(decodeBody(await readBytes(c)), 'body')
}

/** The request's JSON body. The type is not asked for: `curl -d` sends the one of a form. */
export async function readJson(c: Context<HttpEnv>): Promise<unknown> {
  const bytes = await readBytes(c)
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new CallplaneError('invalid_json', 'the body is not JSON: send an array of arguments, such as ["Ada"]', {
      cause,
    })
  }
}

function mediaType(header: string | undefined): string {
  return (header ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? ''
}

/** The body, cut off at the cap whatever its headers claim. */
async function readBytes(c: Context<HttpEnv>): Promise<Uint8Array> {
  const tooLarge = () =>
    new CallplaneError('payload_too_large', `the body is over ${MAX_BODY_BYTES} bytes: send fewer calls in a request`)
  const claimed = c.req.header('content-length')
  if (Number(claimed ?? 0) > MAX_BODY_BYTES) throw tooLarge()
  const chunks: Uint8Array[] = []
  let size = 0
  try {
    if (claimed !== undefined) {
      // HTTP gives no more than what the header claims. On Node this way makes no stream, nor the Request around it.
      const bytes = new Uint8Array(await c.req.raw.arrayBuffer())
      if (bytes.length > MAX_BODY_BYTES) throw tooLarge()
      return bytes
    }
    for await (const chunk of c.req.raw.body ?? []) {
      size += chunk.length
      if (size > MAX_BODY_BYTES) throw tooLarge()
      chunks.push(chunk)
    }
  } catch (cause) {
    if (cause instanceof CallplaneError) throw cause
    throw new CallplaneError('invalid_request', 'the body broke off before its end', { cause })
  }
  const [first] = chunks
  if (first !== undefined && chunks.length === 1) return first
  const bytes = new Uint8Array(size)
  let offset = 0
  for (const chunk of chunks) {
    bytes.set(chunk, offset)
    offset += chunk.length
  }
  return bytes
}
