// The way to a peer: one connection while somebody needs it, made anew after a cut, and gone soon after the last who does.
//
//   held ── connect, authenticate ──▶ open ── cut ──▶ pause ── connect …
//                  └─ refused: everyone is told         └─ let go by all: nothing is left
import { CallplaneError } from '../protocol/errors.ts'
import { Backoff } from './backoff.ts'
import { LiveConnection, type Told } from './live-connection.ts'
import { quiet } from './quiet.ts'
import { RETRY_FOR_MS, unreachable } from './retry.ts'
import { unref } from './runtime.ts'
import { Unanswered, type Transport, type WebSocketLike } from './transport.ts'

/** So long a connection stays for the next who needs one. */
const IDLE_MS = 1_000
/** A peer that takes longer to open and to take the key is asked again. */
const OPEN_MS = 10_000

export interface LinkEvents {
  told(result: Told): void
  /** There is a connection, `current`, and its peer knows the key. */
  opened(): void
  /** To go on makes no sense. */
  refused(error: CallplaneError): void
}

export class LiveLink {
  readonly #transport: Transport
  readonly #events: LinkEvents
  readonly #backoff: Backoff
  /** Open, or on its way. */
  #connection: LiveConnection | undefined
  #opening: PromiseWithResolvers<LiveConnection> = newOpening()
  #isOpen = false
  #hasOpened = false
  #holds = 0
  #heldSinceMs = 0
  #retry: ReturnType<typeof setTimeout> | undefined
  #idle: ReturnType<typeof setTimeout> | undefined

  constructor(transport: Transport, events: LinkEvents) {
    this.#transport = transport
    this.#events = events
    this.#backoff = new Backoff(transport.budget)
  }

  /** The open one. */
  get current(): LiveConnection | undefined {
    return this.#isOpen ? this.#connection : undefined
  }

  /** The connection, once it is open, for those who hold the link. Throws {@link Unanswered} where a try to open one fails. */
  opened(): Promise<LiveConnection> {
    this.#connectSoon()
    return this.#opening.promise
  }

  /** Keeps a connection open, or tries to, until the returned function is called. */
  hold(): () => void {
    if (this.#holds++ === 0) this.#heldSinceMs = performance.now()
    clearTimeout(this.#idle)
    this.#connectSoon()
    return () => {
      if (--this.#holds > 0) return
      if (!this.#isOpen) return this.close()
      this.#idle = setTimeout(() => this.close(), IDLE_MS)
      unref(this.#idle)
    }
  }

  /** Ends the connection, if there is one. Whoever waits for it is told why. */
  close(reason: CallplaneError | Unanswered = new Unanswered('the connection was closed')): void {
    clearTimeout(this.#retry)
    clearTimeout(this.#idle)
    this.#retry = undefined
    const connection = this.#connection
    this.#connection = undefined
    connection?.close()
    this.#failed(reason)
  }

  /** Not at once: whoever needs it must be there to be told that it is refused. */
  #connectSoon(): void {
    queueMicrotask(() => {
      if (this.#holds > 0 && this.#connection === undefined && this.#retry === undefined) this.#connect()
    })
  }

  #connect(): void {
    try {
      const key = this.#transport.key()
      const socket = openSocket(this.#transport)
      const connection = new LiveConnection(socket, {
        opened: () => void this.#authenticate(connection, key),
        told: (result) => {
          if (connection === this.#connection) this.#events.told(result)
        },
        cut: (reason) => this.#lost(connection, reason),
      })
      this.#connection = connection
      const overdue = setTimeout(() => this.#lost(connection, new Unanswered('the peer fell silent')), OPEN_MS)
      this.#opening.promise.catch(() => {}).finally(() => clearTimeout(overdue))
    } catch (error) {
      this.#refuse(error)
    }
  }

  /** Never rejects. */
  async #authenticate(connection: LiveConnection, key: string): Promise<void> {
    try {
      await connection.ask({ Auth: { key } })
    } catch (error) {
      if (error instanceof Unanswered) this.#lost(connection, error)
      else if (connection === this.#connection) this.#refuse(error)
      return
    }
    if (connection !== this.#connection) return
    this.#isOpen = true
    this.#hasOpened = true
    this.#backoff.succeeded()
    this.#transport.budget.answered()
    this.#opening.resolve(connection)
    this.#events.opened()
  }

  #lost(connection: LiveConnection, reason: Unanswered): void {
    if (connection !== this.#connection) return
    this.close(reason)
    if (this.#holds === 0) return
    const triedForMs = performance.now() - this.#heldSinceMs
    if (!this.#hasOpened && triedForMs > RETRY_FOR_MS) {
      return this.#refuse(unreachable(this.#transport.url, triedForMs, reason))
    }
    this.#retry = setTimeout(() => {
      this.#retry = undefined
      this.#connect()
    }, this.#backoff.failed(0))
  }

  #refuse(thrown: unknown): void {
    const isOurs = thrown instanceof CallplaneError
    // Where a page may not open one, the constructor says so.
    const error = isOurs ? thrown : new CallplaneError('plane_unreachable', String(thrown), { cause: thrown })
    this.close(error)
    this.#events.refused(error)
  }

  #failed(reason: CallplaneError | Unanswered): void {
    this.#isOpen = false
    this.#opening.reject(reason)
    this.#opening = newOpening()
  }
}

function openSocket({ url, WebSocket = globalThis.WebSocket }: Transport): WebSocketLike {
  if (typeof WebSocket !== 'function') {
    throw new CallplaneError('not_supported', 'this runtime has no WebSocket: pass one to new Callplane')
  }
  return new WebSocket(`${url.replace(/^http/, 'ws')}/v1/live`)
}

function newOpening(): PromiseWithResolvers<LiveConnection> {
  const opening = Promise.withResolvers<LiveConnection>()
  void quiet(opening.promise)
  return opening
}
