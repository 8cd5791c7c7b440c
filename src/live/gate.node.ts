// Bounds what clients of live queries cost, over all transports: how many there are, who says nothing, what is half sent.

const MIB = 1024 * 1024

/** What the gate holds clients to. */
export interface Bounds {
  /** Connections in all: each is a file descriptor, and some 15 KB. Default 20,000. */
  maxConnections: number
  /** Of these, the ones that have not sent a frame. One more, and the oldest of them ends. Default 10,000. */
  maxSilent: number
  /** A connection that has not sent a frame ends after this. Default 10 s. */
  silentMs: number
  /**
   * Bytes of frames that have begun and not ended, of all connections together: a full frame of each would be 20 GB.
   * Default 256 MiB, which small frames hardly touch.
   */
  maxUnfinishedBytes: number
}

const DEFAULTS: Bounds = {
  maxConnections: 20_000,
  maxSilent: 10_000,
  silentMs: 10_000,
  maxUnfinishedBytes: 256 * MIB,
}

/** One connection, as the gate knows it. */
export interface Guest {
  /** It has sent a frame. */
  spoke(): void
  /** So much of a frame has come. False: it is too much, and the connection must end. */
  holds(unfinishedBytes: number): boolean
  left(): void
}

export class Gate {
  readonly #bounds: Bounds
  #connections = 0
  #unfinishedBytes = 0
  /** How to end those that have said nothing, the oldest first. */
  readonly #silent = new Set<(why: string) => void>()

  constructor(bounds: Partial<Bounds> = {}) {
    this.#bounds = { ...DEFAULTS, ...bounds }
  }

  isFull(): boolean {
    return this.#connections >= this.#bounds.maxConnections
  }

  /** `end` is called once at most, and only before the guest has spoken or left. */
  enter(end: (why: string) => void): Guest {
    const { maxSilent, silentMs, maxUnfinishedBytes } = this.#bounds
    const [oldest] = this.#silent
    if (oldest !== undefined && this.#silent.size >= maxSilent) oldest('too many connections have not sent a frame')

    let bytes = 0
    const hold = (now: number): void => {
      this.#unfinishedBytes += now - bytes
      bytes = now
    }
    const stopWaiting = (): void => {
      clearTimeout(timer)
      this.#silent.delete(endSilent)
    }
    const endSilent = (why: string): void => {
      stopWaiting()
      end(why)
    }
    const timer = setTimeout(() => endSilent(`no frame came within ${silentMs / 1_000} s`), silentMs)
    timer.unref()
    this.#silent.add(endSilent)
    this.#connections++
    return {
      spoke: stopWaiting,
      holds: (now) => {
        hold(now)
        return this.#unfinishedBytes <= maxUnfinishedBytes
      },
      left: () => {
        stopWaiting()
        hold(0)
        this.#connections--
      },
    }
  }
}
