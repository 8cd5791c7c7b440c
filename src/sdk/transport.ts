// One request to the plane and its answer, or the reason why there is none. Whether to try again is the caller's decision.
import { CallplaneError, fromWireError, isRetryable } from '../protocol/errors.ts'
import { readFrames } from '../protocol/frames.ts'
import { MAX_BODY_BYTES } from '../protocol/limits.ts'
import { decodeBody, encodeBody } from '../protocol/wire.ts'
import { RetryBudget } from './backoff.ts'
import type { Route } from './routes.ts'
import { readEnv } from './runtime.ts'

/** The part of `fetch` that the SDK uses; the global one fits, and so does the `request` of a Hono app. */
export type Fetch = (url: string, init: RequestInit) => Response | Promise<Response>

/** A request that the plane did not answer, as far as one can tell: it may have been carried out all the same. */
export class Unanswered extends Error {
  /** How long the plane asked to hold back; 0 if it did not. */
  readonly retryAfterMs: number
  /** Where something that is not the plane refused the request: what to say where nobody would wait for the plane. */
  readonly refusal: CallplaneError | null

  constructor(message: string, cause?: unknown, retryAfterMs = 0, refusal: CallplaneError | null = null) {
    super(message, { cause })
    this.retryAfterMs = retryAfterMs
    this.refusal = refusal
  }
}

/** How long the plane may take for an answer, beyond what it was asked to wait. */
const ANSWER_MS = 10_000

export interface Patience {
  /** What the plane was asked to wait. Default 0. */
  waitMs?: number
  /** Aborting it ends the request. */
  controller?: AbortController
}

/** Whether the same, sent again, may be taken: the plane has trouble of its own. */
export function isPassing({ code }: CallplaneError): boolean {
  return isRetryable(code)
}

/** The part of `WebSocket` that the SDK uses; the global one fits. */
export interface WebSocketLike {
  addEventListener(type: 'message', listener: (event: { readonly data: unknown }) => void): void
  addEventListener(type: 'open' | 'close' | 'error', listener: () => void): void
  send(frame: string): void
  close(): void
}
export type WebSocketClass = new (url: string) => WebSocketLike

const MSGPACK = 'application/msgpack'

interface TransportOptions {
  url: string
  key?: string | undefined
  fetch?: Fetch | undefined
  WebSocket?: WebSocketClass | undefined
}

export class Transport {
  readonly url: string
  readonly budget: RetryBudget = new RetryBudget()
  readonly #fetch: Fetch
  readonly #givenKey: string | undefined
  /** Default: the global one. */
  readonly WebSocket: WebSocketClass | undefined
  /** What ends each request and each pause under way. */
  readonly ends: Set<(closed: CallplaneError) => void> = new Set()
  closed: CallplaneError | null = null

  constructor({ url, key, fetch, WebSocket }: TransportOptions) {
    this.url = url
    this.#givenKey = key
    this.WebSocket = WebSocket
    // Looked up at each request: whoever replaces the global one later means this one too.
    this.#fetch = fetch ?? ((input, init) => globalThis.fetch(input, init))
  }

  /** The key, or `no_key`. Asked for with the first use, so that a module that only defines services loads without one. */
  key(): string {
    const key = (this.#givenKey ?? readEnv('CALLPLANE_KEY'))?.trim()
    if (!key) throw new CallplaneError('no_key')
    // fetch would refuse such a header with an error that shows its value.
    if (!/^[\x21-\x7e]+$/.test(key)) {
      throw new CallplaneError('invalid_option', 'the key is malformed')
    }
    return key
  }

  /** Ends everything that is under way, and all that comes later, with `closed`. */
  close(closed: CallplaneError): void {
    this.closed = closed
    for (const end of this.ends) end(closed)
  }

  /** Waits, between two tries of a request; throws `closed` when that comes first. */
  async pause(ms: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, ms)
    this.ends.add(reject)
    try {
      await promise
    } finally {
      clearTimeout(timer)
      this.ends.delete(reject)
    }
  }

  /** One answer. Throws {@link Unanswered}, or the CallplaneError that the plane refused the request with. */
  send<Request, Answer>({ path }: Route<Request, Answer>, body: Request, patience: Patience = {}): Promise<Answer> {
    return this.#exchange('POST', path, encodeBody(body), patience, readAnswer<Answer>)
  }

  /** The answer of a route that carries nothing. */
  get<Answer>({ path }: Route<never, Answer>): Promise<Answer> {
    return this.#exchange('GET', path, null, {}, readAnswer<Answer>)
  }

  /** Frames as they come. Ends when the stream does; whether all was said is for the frames to tell. */
  stream<Request, Frame>(
    { path }: Route<Request, Frame>,
    body: Request,
    onFrame: (frame: Frame) => void,
    patience: Patience & { controller: AbortController },
  ): Promise<void> {
    return this.#exchange('POST', path, encodeBody(body), patience, async ({ body: stream }) => {
      if (stream === null) return
      for await (const frame of readFrames(stream, { maxFrameBytes: MAX_BODY_BYTES })) {
        if (patience.controller.signal.aborted) return
        onFrame(frame as Frame) // what the plane says it is; to read it as another throws, which counts as no answer
      }
    })
  }

  async #exchange<T>(
    method: string,
    path: string,
    body: Uint8Array<ArrayBuffer> | null,
    { waitMs = 0, controller = new AbortController() }: Patience,
    read: (response: Response) => Promise<T>,
  ): Promise<T> {
    if (this.closed !== null) throw this.closed
    const { signal } = controller
    const headers: Record<string, string> = { authorization: `Bearer ${this.key()}`, accept: MSGPACK }
    if (body !== null) headers['content-type'] = MSGPACK
    const timeoutMs = waitMs + ANSWER_MS
    const timer = setTimeout(() => {
      controller.abort(new Unanswered(`no answer within ${timeoutMs / 1_000} s`))
    }, timeoutMs)
    const end = (closed: CallplaneError) => controller.abort(closed)
    this.ends.add(end)
    // Raced, because a fetch that a user passes may not know signals, or its body may not.
    const aborted = Promise.withResolvers<never>()
    const onAbort = () => aborted.reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      signal.throwIfAborted()
      // Redirects are not followed: they would turn the POST into a GET, or hand the key to another host.
      const init: RequestInit = { method, headers, body, signal, redirect: 'manual' }
      return await Promise.race([this.#ask(this.url + path, init, read), aborted.promise])
    } catch (error) {
      throw this.closed ?? (error instanceof CallplaneError ? error : asUnanswered(error))
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
      this.ends.delete(end)
    }
  }

  async #ask<T>(url: string, init: RequestInit, read: (response: Response) => Promise<T>): Promise<T> {
    const response = await this.#fetch(url, init)
    if (!response.ok) throw await refusalOf(response, this.url)
    this.budget.answered()
    try {
      return await read(response)
    } catch (error) {
      // Cut short, or not of the plane: nothing that was read so far is wrong, but the rest is missing.
      throw new Unanswered(`the answer broke off: ${reasonOf(error)}`, error)
    }
  }
}

async function readAnswer<Answer>(response: Response): Promise<Answer> {
  return decodeBody(new Uint8Array(await response.arrayBuffer())) as Answer // what the plane says it is
}

export function asUnanswered(error: unknown): Unanswered {
  if (error instanceof Unanswered) return error
  return new Unanswered(reasonOf(error), error)
}

/** What undici says is "fetch failed"; why is in the cause. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message
}

async function refusalOf(response: Response, url: string): Promise<CallplaneError | Unanswered> {
  const { status, headers } = response
  const error = await readWireError(response)
  if (status === 408 || status === 429 || status >= 500) {
    const why = error === null ? `status ${status}` : `${error.code}: ${error.message}`
    return new Unanswered(why, error, retryAfterMsOf(headers.get('retry-after')))
  }
  if (error !== null) return error
  const location = headers.get('location')
  const message = `${url} answered ${status}${location === null ? '' : ` (${location})`}, but not as a control plane does`
  // A proxy's cap on bodies is about what was sent; anything else, about where.
  const code = status === 413 ? 'payload_too_large' : 'plane_unreachable'
  return new Unanswered(message, null, 0, new CallplaneError(code, `${message}: check CALLPLANE_URL`))
}

/** The plane's own error, or null where something else answered. */
async function readWireError(response: Response): Promise<CallplaneError | null> {
  try {
    const { error } = await readAnswer<{ error: { code: unknown; message: unknown } }>(response)
    return fromWireError({ code: String(error.code), message: String(error.message) })
  } catch {
    return null
  }
}

/** Retry-After in milliseconds: it is a number of seconds or a date. */
function retryAfterMsOf(header: string | null): number {
  if (header === null) return 0
  const ms = /^\d+$/.test(header) ? Number(header) * 1_000 : Date.parse(header) - Date.now()
  return ms > 0 ? ms : 0
}
