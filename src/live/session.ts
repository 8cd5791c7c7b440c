// One client at a peer: its requests apply in its order, one by one, those for the log many at once.
import { CallplaneError } from '../protocol/errors.ts'
import { MAX_LIVE_FRAME_BYTES } from '../protocol/limits.ts'
import { parseLiveFrame, type LiveRequest, type ParsedRequest, type RequestId } from '../protocol/live.ts'
import { frameOf, type Interest } from './audience.ts'
import { commandOf, type Command } from './commands.ts'
import type { Connection, Receiver } from './connection.ts'
import { errorFrame, refusalOf } from './fault.ts'
import { parsePackedFrame } from './msgpack-frames.ts'
import type { Room } from './room.ts'

export interface SessionOptions {
  authenticate: (key: string) => Promise<Guest>
  /** The namespace that another peer may enter with a ticket; throws `unauthorized`. Default: no peer may. */
  admit?: (ticket: string) => Promise<string>
  breathe: () => Promise<void>
  enter: (namespace: string, options: { isPeer: boolean }) => Room
  /** The session is over; null: it never entered. */
  left: (namespace: string | null, options: { isPeer: boolean }) => void
  fault: (error: unknown) => void
  /** Of a cookie: no first frame has to bring it. */
  key?: string
  /** Whether the key still opens is asked so often. Default 30 s: a revoked key stops within a minute. Infinity: the host asks. */
  recheckMs?: number
  /** It had entered, and its peer has forgotten it since. */
  restored?: { namespace: string; interests: readonly Interest[] }
  /** The key was right; its public id, where the host has said it. */
  entered?: (guest: Guest) => void
}

/** Whose key a client has brought. */
export interface Guest {
  namespace: string
  keyId?: string
}

/** Requests that wait for their turn: more are refused, each for itself. Bounds what a flood can keep here. */
const MAX_WAITING = 100_000
const MAX_WAITING_CHARS = 16 * 1024 * 1024
/** Commands of one statement. */
const MAX_COMMANDS = 500
const RECHECK_MS = 30_000
/** Who leaves so much unread that not even its answers are taken is cut off. */
const MAX_UNREAD_BYTES = 4 * 1024 * 1024

interface Entered {
  namespace: string
  /** It is another peer, and may ask for pieces of queries and for nothing else. */
  isPeer: boolean
  key: string
  room: Room
}

export class Session implements Receiver {
  readonly #client: string = crypto.randomUUID()
  readonly #connection: Connection
  readonly #options: SessionOptions
  readonly #waiting: { request: ParsedRequest; chars: number }[] = []
  #waitingChars = 0
  #isBusy = false
  #isOver = false
  #entered: Entered | null = null
  #recheck: ReturnType<typeof setInterval> | undefined

  constructor(connection: Connection, options: SessionOptions) {
    this.#connection = connection
    this.#options = options
    const { key, restored } = options
    if (restored !== undefined) void this.#restore(restored)
    if (key !== undefined) this.#enqueue({ id: 'cookie', tag: 'Auth', body: { key } }, 0)
  }

  receive(frame: string | Uint8Array): void {
    if (this.#isOver) return
    const requests = typeof frame === 'string' ? parseLiveFrame(frame) : parsePackedFrame(frame)
    if (requests.length === 0 && this.#entered === null) return this.end(noKey())
    for (const request of requests) this.#enqueue(request, frame.length / requests.length)
  }

  refuse(code: 'invalid_request' | 'payload_too_large', message: string): void {
    this.send(errorFrame(null, new CallplaneError(code, message)))
  }

  drained(): void {
    this.#entered?.room.drained(this)
  }

  closed(): void {
    if (this.#isOver) return
    this.#isOver = true
    clearInterval(this.#recheck)
    this.#waiting.length = 0
    this.#entered?.room.leaveAll(this)
    this.#options.left(this.#entered?.namespace ?? null, this)
  }

  /** Tells the client why, and closes. */
  end(error: CallplaneError): void {
    if (this.#isOver) return
    this.send(errorFrame(null, error))
    this.closed()
    this.#connection.close(error.code)
  }

  /** What it can ask for again; null while the answer to a request is owed, which would be lost. */
  get interests(): readonly Interest[] | null {
    return this.#isBusy ? null : (this.#entered?.room.interestsOf(this) ?? [])
  }

  get isOver(): boolean {
    return this.#isOver
  }

  get isPeer(): boolean {
    return this.#entered?.isPeer === true
  }

  get unreadBytes(): number {
    return this.#connection.bufferedBytes
  }

  send(frame: string): void {
    if (this.#isOver) return
    this.#connection.send(frame)
    if (this.unreadBytes <= MAX_UNREAD_BYTES + frame.length) return
    this.closed()
    this.#connection.close('too slow')
  }

  #enqueue(request: ParsedRequest, chars: number): void {
    // Before the key is known, a frame at most is kept.
    const maxChars = this.#entered === null ? MAX_LIVE_FRAME_BYTES : MAX_WAITING_CHARS
    if (this.#waiting.length >= MAX_WAITING || this.#waitingChars > maxChars) {
      const error = new CallplaneError(
        'too_many_requests',
        `${this.#waiting.length} requests wait already: send it later`,
      )
      return this.send(errorFrame(request.id, error))
    }
    this.#waiting.push({ request, chars })
    this.#waitingChars += chars
    if (!this.#isBusy) void this.#work()
  }

  /** Never rejects. What the client asks for meanwhile waits. */
  async #restore({ namespace, interests }: { namespace: string; interests: readonly Interest[] }): Promise<void> {
    this.#isBusy = true
    const room = this.#options.enter(namespace, { isPeer: false })
    this.#entered = { namespace, isPeer: false, key: '', room }
    for (const interest of interests) {
      await room.listen(this, { ...interest, isRestored: true }).catch((error: unknown) => {
        this.#answer(interest.id, error)
      })
    }
    await this.#work()
  }

  /** Never rejects. */
  async #work(): Promise<void> {
    this.#isBusy = true
    await this.#options.breathe()
    while (this.#waiting.length > 0 && !this.#isOver) {
      const commands = this.#entered === null || this.isPeer ? [] : this.#takeCommands()
      if (commands.length > 0) await this.#command(commands)
      else {
        const [next] = this.#waiting.splice(0, 1)
        this.#waitingChars -= next?.chars ?? 0
        if (next !== undefined) await this.#handle(next.request)
      }
      await this.#options.breathe()
    }
    this.#isBusy = false
  }

  /** The commands at the head of the line, as many as go into one statement. */
  #takeCommands(): { id: RequestId; command: Command }[] {
    const taken: { id: RequestId; command: Command }[] = []
    for (const { request, chars } of this.#waiting) {
      const command = 'error' in request ? null : commandOf(request)
      if (command === null || taken.length === MAX_COMMANDS) break
      // A plan is checked before it is sent on, when the relation that it reads must be there.
      if ('Register' in command && taken.some((one) => 'CreateAttribute' in one.command)) break
      taken.push({ id: request.id ?? '', command })
      this.#waitingChars -= chars
    }
    this.#waiting.splice(0, taken.length)
    return taken
  }

  async #command(sent: readonly { id: RequestId; command: Command }[]): Promise<void> {
    try {
      const outcomes = await this.#here().room.append(
        this.#client,
        sent.map(({ command }) => command),
      )
      for (const [place, { id }] of sent.entries()) this.#answer(id, outcomes[place] ?? null)
    } catch (error) {
      for (const { id } of sent) this.#answer(id, error)
    }
  }

  async #handle(request: ParsedRequest): Promise<void> {
    // Whoever has not said who he is keeps no connection, whatever else he says.
    if (this.#entered === null && ('error' in request || request.tag !== 'Auth')) {
      if ('error' in request) this.#answer(request.id, request.error)
      return this.end(noKey())
    }
    if ('error' in request) return this.#answer(request.id, request.error)
    const { id } = request
    try {
      if (request.tag === 'Auth') return await this.#authenticate(id, request.body)
      const { room } = this.#here()
      this.#checkPeer(request)
      if (request.tag === 'Interest') return await room.listen(this, { id, ...request.body })
      if (request.tag === 'Uninterest') {
        const { name } = request.body
        if (!room.leave(this, name)) throw new CallplaneError('not_found', `there is no interest in ${name} here`)
        return this.#answer(id, null)
      }
      if (request.tag === 'Status') {
        return this.send(frameOf({ Status: [id, room.status()] }))
      }
    } catch (error) {
      this.#answer(id, error)
    }
  }

  /** Pieces are for peers, and peers are here for nothing else. */
  #checkPeer(request: LiveRequest): void {
    const isOfPeers = request.tag === 'Interest' && (request.body.piece ?? request.body.tick) !== undefined
    if (isOfPeers === this.isPeer) return
    const message = this.isPeer ? 'a peer may ask for pieces of queries alone' : 'piece and tick are for peers alone'
    throw new CallplaneError('forbidden', message)
  }

  async #authenticate(id: RequestId, { key, peer }: { key?: string; peer?: string }): Promise<void> {
    if (this.#entered !== null) throw new CallplaneError('invalid_request', 'the connection is authenticated already')
    const { authenticate, admit = noPeer, enter, entered, recheckMs = RECHECK_MS } = this.#options
    let guest: Guest
    try {
      if ((key === undefined) === (peer === undefined)) throw noKey()
      guest = peer === undefined ? await authenticate(key ?? '') : { namespace: await admit(peer) }
    } catch (error) {
      this.#answer(id, error)
      return this.end(isRefusal(error) ? doesNotOpen() : refusalOf(error))
    }
    if (this.#isOver) return
    const isPeer = peer !== undefined
    this.#entered = { namespace: guest.namespace, isPeer, key: key ?? '', room: enter(guest.namespace, { isPeer }) }
    entered?.(guest)
    if (recheckMs < Infinity && !isPeer) this.#recheck = setInterval(() => void this.#checkAgain(), recheckMs)
    if (typeof this.#recheck === 'object') this.#recheck.unref()
    this.#answer(id, null)
  }

  /** Never rejects. A database that does not answer revokes nothing. */
  async #checkAgain(): Promise<void> {
    try {
      await this.#options.authenticate(this.#entered?.key ?? '')
    } catch (error) {
      if (isRefusal(error)) this.end(error)
    }
  }

  #answer(id: RequestId | null, error: unknown): void {
    if (error === null && id !== null) return this.send(frameOf({ Ok: id }))
    if (!(error instanceof CallplaneError)) this.#options.fault(error)
    this.send(errorFrame(id, error))
  }

  #here(): Entered {
    if (this.#entered === null) throw noKey()
    return this.#entered
  }
}

/** Of the key. Anything else says nothing of it. */
function isRefusal(error: unknown): error is CallplaneError {
  return error instanceof CallplaneError && (error.code === 'unauthorized' || error.code === 'forbidden')
}

function doesNotOpen(): CallplaneError {
  return new CallplaneError('unauthorized', 'the key does not open this plane')
}

function noPeer(): never {
  throw new CallplaneError('unauthorized', 'no peer may enter here')
}

function noKey(): CallplaneError {
  return new CallplaneError('unauthorized', 'the first request is { id, Auth: { key } }')
}
