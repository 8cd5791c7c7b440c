// A plane whose every answer the test gives: each request waits for it, so that a test says in which order things happen.
import { afterEach, expect, onTestFinished, vi } from 'vitest'
import { encodePayload } from '../../src/protocol/codec.ts'
import { encodeThrown } from '../../src/protocol/error-value.ts'
import { encodeFrames } from '../../src/protocol/frames.ts'
import type { CallFrame, CallRequest } from '../../src/protocol/calls.ts'
import type { ErrorCode } from '../../src/protocol/errors.ts'
import type { ClaimedJob, ClaimRequest, Heartbeat, RegisterRunner, Report } from '../../src/protocol/runners.ts'
import { decodeBody, encodeBody } from '../../src/protocol/wire.ts'
import { Callplane, type CallplaneOptions, type Functions, type Service } from '../../src/sdk/index.ts'

/** Everything that a request of the SDK may carry. */
interface Body extends Partial<RegisterRunner> {
  calls: CallRequest[]
  ids: string[]
  reason?: string
  waitMs?: number
  reports?: Report[]
  heartbeats?: Heartbeat[]
  claim?: ClaimRequest
}

/** One request, until it is answered. */
export class Asked {
  readonly path: string
  readonly body: Body
  readonly init: RequestInit
  readonly #response = Promise.withResolvers<Response>()
  #stream: ReadableStreamDefaultController<Uint8Array> | undefined

  constructor(url: string, init: RequestInit) {
    this.path = new URL(url).pathname
    this.init = init
    this.body = (init.body ? decodeBody(init.body as Uint8Array) : {}) as Body // the SDK wrote it
  }

  get response(): Promise<Response> {
    return this.#response.promise
  }

  get isAborted(): boolean {
    return this.init.signal?.aborted === true
  }

  /** The ids of the calls that it makes, or waits for. */
  get ids(): string[] {
    return this.body.ids ?? this.body.calls.map((call) => call.id)
  }

  answer(body: object): void {
    this.#response.resolve(new Response(encodeBody(body)))
  }

  /** A poll's answer. */
  deliver(jobs: ClaimedJob[], { reports, heartbeats }: { reports?: object[]; heartbeats?: object[] } = {}): void {
    this.answer({
      jobs,
      reports: reports ?? (this.body.reports ?? []).map(() => ({})),
      heartbeats: heartbeats ?? (this.body.heartbeats ?? []).map(() => ({})),
    })
  }

  refuse(status: number, code: ErrorCode, headers: Record<string, string> = {}): void {
    const body = encodeBody({ error: { code, message: `the plane says ${code}` } })
    this.#response.resolve(
      new Response(body, { status, headers: { 'content-type': 'application/msgpack', ...headers } }),
    )
  }

  respond(response: Response): void {
    this.#response.resolve(response)
  }

  /** The connection breaks before an answer. */
  break(): void {
    this.#response.reject(new TypeError('fetch failed', { cause: new Error('connect ECONNREFUSED') }))
  }

  /** A whole stream of frames. */
  frames(...frames: CallFrame[]): void {
    this.open()
    this.frame(...frames)
    this.#stream?.close()
  }

  /** A stream that goes on. */
  open(): void {
    const stream = new ReadableStream<Uint8Array>({ start: (controller) => void (this.#stream = controller) })
    this.#response.resolve(new Response(stream))
  }

  frame(...frames: CallFrame[]): void {
    for (const frame of frames) this.#stream?.enqueue(encodeFrames([frame]))
  }

  /** The stream breaks off. */
  cut(): void {
    this.#stream?.error(new TypeError('terminated'))
  }

  accepted(): CallFrame {
    return { accepted: this.ids.map((id) => ({ id })) }
  }

  /** Accepts its calls, and ends each with what `result` makes of its arguments. */
  succeed(result: (call: CallRequest) => unknown = () => undefined): void {
    const ends = this.body.calls.map((call) => succeeded(call.id, result(call)))
    this.frames(this.accepted(), ...ends, { isComplete: true })
  }
}

export function succeeded(id: string, value: unknown): CallFrame {
  return { id, outcome: { ended: 'succeeded', result: encodePayload(value, 'result') } }
}

export function threw(id: string, thrown: unknown): CallFrame {
  return { id, outcome: { ended: 'threw', error: encodeThrown(thrown) } }
}

export const DONE: CallFrame = { isComplete: true }
export const TIME_OVER: CallFrame = { isComplete: false }

let jobCount = 0

/** A job as a claim brings it. */
export function job(service: string, name: string, args: unknown[], more: Partial<ClaimedJob> = {}): ClaimedJob {
  return {
    id: crypto.randomUUID(),
    token: crypto.randomUUID(),
    service,
    function: name,
    args: encodePayload(args, 'args'),
    attempt: 1,
    maxAttempts: 3,
    fence: ++jobCount,
    leaseMs: 15_000,
    ...more,
  }
}

export class FakePlane {
  /** All requests, in the order of their arrival. */
  readonly asked: Asked[] = []
  readonly #unread: Asked[] = []
  readonly #readers: { path: string; resolve: (asked: Asked) => void }[] = []
  readonly #always = new Map<string, (asked: Asked) => void>()

  readonly fetch = (url: string, init: RequestInit): Promise<Response> => {
    const asked = new Asked(url, init)
    this.asked.push(asked)
    const reader = this.#readers.findIndex(({ path }) => path === asked.path)
    const always = this.#always.get(asked.path)
    if (reader >= 0) this.#readers.splice(reader, 1)[0]?.resolve(asked)
    else if (always !== undefined) always(asked)
    else this.#unread.push(asked)
    return asked.response
  }

  /** The next request to this path that nobody has read yet. */
  next(path: string): Promise<Asked> {
    const unread = this.#unread.findIndex((asked) => asked.path === path)
    const [asked] = unread < 0 ? [] : this.#unread.splice(unread, 1)
    if (asked !== undefined) return Promise.resolve(asked)
    const { promise, resolve } = Promise.withResolvers<Asked>()
    this.#readers.push({ path, resolve })
    return promise
  }

  /** How requests to this path are answered unless a test is waiting for one. */
  always(path: string, answer: (asked: Asked) => void): void {
    this.#always.set(path, answer)
  }

  count(path: string): number {
    return this.asked.filter((asked) => asked.path === path).length
  }
}

export const CREATE = '/v1/calls'
export const WAIT = '/v1/calls/wait'
export const CANCEL = '/v1/calls/cancel'
export const REGISTER = '/v1/runners/register'
export const POLL = '/v1/runners/poll'
export const LEAVE = '/v1/runners/leave'

export const KEY = 'cp_secret_that_must_never_be_shown'

const unhandled: unknown[] = []
process.on('unhandledRejection', (reason) => unhandled.push(reason))
afterEach(async () => {
  vi.useRealTimers()
  await settle()
  expect(unhandled.splice(0), 'unhandled rejections').toEqual([])
})

/** A plane that takes registrations, and a Callplane that is closed with the test. */
export function setup(options: CallplaneOptions = {}): { fake: FakePlane; plane: Callplane } {
  const fake = new FakePlane()
  fake.always(REGISTER, (asked) => asked.answer({ namespace: 'default' }))
  fake.always(LEAVE, (asked) => asked.answer({}))
  const plane = new Callplane({ url: 'http://plane.test', key: KEY, fetch: fake.fetch, ...options })
  onTestFinished(async () => {
    vi.useRealTimers()
    fake.always(POLL, (asked) => asked.deliver([]))
    // Not awaited: timers that a test faked never ring.
    void plane.close()
    for (const asked of fake.asked) asked.break()
    await settle()
  })
  return { fake, plane }
}

/** A service that runs here, a client that calls it, and its first poll. */
export async function serve<F extends Functions>(
  functions: F,
  options: { slots?: number; name?: string } = {},
): Promise<{ fake: FakePlane; plane: Callplane; service: Service<string, F>; poll: Asked }> {
  const { fake, plane } = setup()
  const { name = 'mailer', ...rest } = options
  const service = plane.service(name, { functions, ...rest })
  await service.start()
  return { fake, plane, service, poll: await fake.next(POLL) }
}

/** Runs all that is ready, also what hashing and streams do outside of this thread. */
export async function settle(): Promise<void> {
  for (let round = 0; round < 3; round++) {
    // Hashes are made in order: after this one, those that were asked for before it are there.
    await crypto.subtle.digest('SHA-256', new Uint8Array(1))
    for (let turn = 0; turn < 5; turn++) await new Promise<void>((resolve) => void realImmediate(resolve))
  }
}

/** Moves the clock, once all that is ready has happened, and lets happen what is due by then. */
export async function pass(ms: number): Promise<void> {
  await settle()
  await vi.advanceTimersByTimeAsync(ms)
  await settle()
}

/** Time is the test's: it passes with `pass`. */
export function fakeTime(): void {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance', 'Date'] })
}

// Taken before any test puts fake timers in its place.
const realImmediate = setImmediate
