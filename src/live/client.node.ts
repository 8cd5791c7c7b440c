// One client of live queries over any transport: its frames go to the peer in turns, and it ends once.
//
//   transport ── take ──▶ this turn's frames ──▶ receiver
//                └──────▶ queue, the transport pauses ── next turn of the event loop ──▶ receiver
import type { Acceptor, Receiver } from './connection.ts'
import type { Gate, Guest } from './gate.node.ts'

/** What a client needs of its transport. None of it throws. */
export interface Wire {
  send(frame: string): void
  readonly bufferedBytes: number
  /** No more frames, but for those of the bytes that have been read. */
  pause(): void
  resume(): void
  /** Says goodbye behind what is queued, and is gone soon after, whatever the other side does. */
  close(code: CloseCode, reason: string): void
}

/** Of RFC 6455, where they have their meaning; only a WebSocket tells its client. */
export const CLOSE = {
  planeCloses: 1001,
  notText: 1003,
  /** What the client did is why. */
  refused: 1008,
  tooLong: 1009,
  tryLater: 1013,
} as const
export type CloseCode = (typeof CLOSE)[keyof typeof CLOSE]

/** What came in the place of a frame. */
export interface Refusal {
  code: 'invalid_request' | 'payload_too_large'
  message: string
  close: CloseCode
}

/**
 * Frames of one client in one turn of the event loop, which then belongs to the others. It bounds small frames, thousands of
 * which come in one read; of large ones, Node reads no more than two in a turn.
 */
const FRAMES_A_TURN = 32

export class Client {
  readonly #wire: Wire
  readonly #guest: Guest
  readonly #receiver: Receiver
  #state: 'open' | 'closing' | 'closed' = 'open'
  /** Frames of later turns; those before `#next` are done. */
  #queue: (string | Uint8Array | Refusal)[] = []
  #next = 0
  #takenInTurn = 0
  #isPaused = false
  #isGone = false
  #hasSpoken = false
  #hasSent = false

  constructor(wire: Wire, { gate, acceptor, key }: { gate: Gate; acceptor: Acceptor; key?: string | undefined }) {
    this.#wire = wire
    this.#guest = gate.enter((message) => this.#refuse({ code: 'invalid_request', message, close: CLOSE.refused }))
    const connection = {
      send: (frame: string) => this.#send(frame),
      get bufferedBytes() {
        return wire.bufferedBytes
      },
      close: (reason: string) => this.close(CLOSE.refused, reason),
    }
    this.#receiver = acceptor.accept(connection, key === undefined ? undefined : { key })
  }

  /** Whether what it sends is still of interest. */
  get isOpen(): boolean {
    return this.#state === 'open'
  }

  /** A frame, or why it is none, in the order in which they came. */
  take(incoming: string | Uint8Array | Refusal): void {
    if (this.#state !== 'open') return
    if (this.#queue.length === 0 && this.#takenInTurn < FRAMES_A_TURN) return this.#deliver(incoming)
    this.#queue.push(incoming)
    if (this.#isPaused) return
    this.#isPaused = true
    this.#wire.pause()
  }

  /** How much of a frame has come that has not ended. */
  holds(unfinishedBytes: number): void {
    if (this.#state !== 'open' || this.#guest.holds(unfinishedBytes)) return
    const message = 'the server holds too many unfinished frames: send smaller ones, or try again later'
    this.#refuse({ code: 'payload_too_large', message, close: CLOSE.tryLater })
  }

  /** The network has taken a frame. */
  taken(): void {
    if (!this.#hasSent || this.#state === 'closed' || this.#wire.bufferedBytes > 0) return
    this.#hasSent = false
    this.#receiver.drained()
  }

  close(code: CloseCode, reason: string): void {
    if (this.#state !== 'open') return
    this.#state = 'closing'
    this.#guest.holds(0)
    this.#dropQueue()
    this.#wire.close(code, reason)
  }

  /** The transport has lost it. What it had sent before is still heard. */
  gone(): void {
    if (this.#isGone) return
    this.#isGone = true
    this.#guest.left()
    if (this.#queue.length === 0) this.#end()
  }

  #send(frame: string): void {
    if (this.#state !== 'open' || this.#isGone) return
    this.#hasSent = true
    this.#wire.send(frame)
  }

  #deliver(incoming: string | Uint8Array | Refusal): void {
    if (this.#takenInTurn === 0) setImmediate(() => this.#nextTurn())
    this.#takenInTurn++
    if (typeof incoming !== 'string' && !(incoming instanceof Uint8Array)) return this.#refuse(incoming)
    if (!this.#hasSpoken) this.#guest.spoke()
    this.#hasSpoken = true
    this.#receiver.receive(incoming)
  }

  #nextTurn(): void {
    this.#takenInTurn = 0
    while (this.#next < this.#queue.length && this.#takenInTurn < FRAMES_A_TURN) {
      const incoming = this.#queue[this.#next++]
      if (incoming !== undefined) this.#deliver(incoming)
    }
    if (this.#next >= this.#queue.length) this.#dropQueue()
    if (this.#isGone && this.#queue.length === 0) this.#end()
  }

  #refuse({ code, message, close }: Refusal): void {
    this.#receiver.refuse(code, message)
    this.close(close, message)
  }

  #dropQueue(): void {
    this.#queue = []
    this.#next = 0
    if (!this.#isPaused) return
    this.#isPaused = false
    this.#wire.resume()
  }

  #end(): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#receiver.closed()
  }
}
