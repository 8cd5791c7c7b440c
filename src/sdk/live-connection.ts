// One WebSocket to a peer: requests go out, each is answered under its id, and results come as they come.
import { CallplaneError, fromWireError } from '../protocol/errors.ts'
import { MAX_LIVE_FRAME_BYTES, MAX_LIVE_REQUESTS } from '../protocol/limits.ts'
import type { LiveResult, PeerStatus } from '../protocol/live.ts'
import { gatherer } from './gather.ts'
import { isPassing, Unanswered, type WebSocketLike } from './transport.ts'
import { unref } from './runtime.ts'

/** What a request asks for, under its tag. */
export type Body = Readonly<Record<string, object>>
/** What comes unasked; an error, where a request that was answered has failed since: an interest whose query has stopped. */
export type Told =
  | Exclude<LiveResult, { Ok: unknown } | { Error: unknown } | { Status: unknown }>
  | { failed: number; reason: CallplaneError | Unanswered }

/** A peer that was silent for so long is asked for a sign of life, and has as long to give it. */
const SILENCE_MS = 30_000
/** A character takes at most three bytes. */
const GATHERED_CHARS = MAX_LIVE_FRAME_BYTES / 3

interface Asked {
  readonly frame: string
  readonly resolve: (status: PeerStatus | undefined) => void
  readonly reject: (error: CallplaneError | Unanswered) => void
}

export class LiveConnection {
  readonly #socket: WebSocketLike
  readonly #told: (result: Told) => void
  readonly #cut: (reason: Unanswered) => void
  readonly #asked = new Map<number, Asked>()
  #silence: ReturnType<typeof setTimeout> | undefined
  #lastId = 0
  /** Looks since something was heard. */
  #silences = 0
  #isOver = false
  readonly #gather = gatherer<Asked>((asked) => this.#send(asked))

  /** `cut` is called once, unless it is closed here before. */
  constructor(
    socket: WebSocketLike,
    { opened, told, cut }: { opened: () => void; told: (result: Told) => void; cut: (reason: Unanswered) => void },
  ) {
    this.#socket = socket
    this.#told = told
    this.#cut = cut
    socket.addEventListener('open', opened)
    socket.addEventListener('message', ({ data }) => this.#receive(data))
    for (const type of ['close', 'error'] as const) {
      socket.addEventListener(type, () => this.#break('the connection was cut'))
    }
    this.#listen()
  }

  /** The answer, which is undefined but for a status. Throws what the plane refuses it with, or {@link Unanswered}. */
  ask(body: Body, id: number = this.newId()): Promise<PeerStatus | undefined> {
    const { promise, resolve, reject } = Promise.withResolvers<PeerStatus | undefined>()
    const frame = JSON.stringify({ id, ...body }, (_, value: unknown) =>
      typeof value === 'bigint' ? String(value) : value,
    )
    const asked = { frame, resolve, reject }
    if (this.#isOver) reject(new Unanswered('the connection was cut'))
    else if (isTooLong(frame)) reject(tooLong())
    else {
      this.#asked.set(id, asked)
      this.#gather(asked)
    }
    return promise
  }

  /** For a request that is to be known again by it. */
  newId(): number {
    return ++this.#lastId
  }

  close(): void {
    this.#over(new Unanswered('the connection was closed'))
  }

  #send(asked: readonly Asked[]): void {
    let part: string[] = []
    let chars = 0
    const flush = () => {
      if (part.length > 0 && !this.#isOver) this.#socket.send(`[${part.join()}]`)
      part = []
      chars = 0
    }
    for (const { frame } of asked) {
      if (part.length === MAX_LIVE_REQUESTS || chars + frame.length > GATHERED_CHARS) flush()
      part.push(frame)
      chars += frame.length + 1
    }
    flush()
  }

  #receive(data: unknown): void {
    this.#silences = 0
    if (this.#isOver) return
    try {
      const frame = JSON.parse(String(data)) as LiveResult | LiveResult[] // what the plane says it is
      for (const result of Array.isArray(frame) ? frame : [frame]) this.#take(result)
    } catch (error) {
      this.#break(`a frame cannot be read: ${String(error)}`)
    }
  }

  #take(result: LiveResult): void {
    if ('Ok' in result) this.#answered(result.Ok)?.resolve(undefined)
    else if ('Status' in result) this.#answered(result.Status[0])?.resolve(result.Status[1])
    else if ('Error' in result) {
      const [id, code, message] = result.Error
      const error = fromWireError({ code, message })
      const reason = isPassing(error) ? new Unanswered(`${code}: ${message}`, error) : error
      // Without an id it is about a whole frame: of those that are not answered, any may be to blame.
      for (const one of id === null ? this.#asked.keys() : [Number(id)]) {
        const asked = this.#answered(one)
        if (asked === undefined) this.#told({ failed: one, reason })
        else asked.reject(reason)
      }
    } else this.#told(result)
  }

  #answered(id: string | number): Asked | undefined {
    const number = Number(id)
    const asked = this.#asked.get(number)
    this.#asked.delete(number)
    return asked
  }

  #listen(): void {
    this.#silence = setTimeout(() => {
      this.#silences++
      if (this.#silences > 2) return this.#break('the peer fell silent')
      // The text is SIGN_OF_LIFE, which a peer that sleeps answers without waking.
      if (this.#silences === 2) this.ask({ Status: {} }, 0).catch(() => {})
      this.#listen()
    }, SILENCE_MS)
    unref(this.#silence)
  }

  #break(reason: string): void {
    if (this.#isOver) return
    const cut = new Unanswered(reason)
    this.#over(cut)
    this.#cut(cut)
  }

  #over(reason: Unanswered): void {
    this.#isOver = true
    clearTimeout(this.#silence)
    for (const { reject } of this.#asked.values()) reject(reason)
    this.#asked.clear()
    try {
      this.#socket.close()
    } catch {} // It was not open yet, or is closed.
  }
}

function isTooLong(frame: string): boolean {
  return frame.length > GATHERED_CHARS && new TextEncoder().encode(frame).length > MAX_LIVE_FRAME_BYTES - 2
}

function tooLong(): CallplaneError {
  return new CallplaneError(
    'payload_too_large',
    `a request has at most ${MAX_LIVE_FRAME_BYTES} bytes: send less at once`,
  )
}
