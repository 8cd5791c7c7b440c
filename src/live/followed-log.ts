// The log of a namespace, as a peer hears it from the sequencer.
import { OBJECT_MESSAGE_VERSION as v } from '../protocol/object-message.ts'
import type { Hear, SequencerCalls } from './object-messages.ts'
import type { LogReader, ReaderEvents } from './reader.ts'

export interface FollowedLogOptions {
  namespace: string
  /** By which name the sequencer reaches it. */
  peer: string
  /** Anew for each call: one that has failed once fails for ever. */
  sequencer: () => SequencerCalls
  /** What the peer has already; null: nothing. */
  after?: number | null
  /** It follows once this has resolved. Default: at once. */
  before?: Promise<void> | undefined
  /** Called as it is closed, to tell the sequencer. */
  closed?: () => Promise<void>
}

const AGAIN_MS = 1_000
const MAX_AGAIN_MS = 30_000
/** A poke that is not heard for so long is left to the alarm of the sequencer. */
const MAX_POKES = 10

export class FollowedLog implements LogReader {
  readonly #options: FollowedLogOptions
  readonly #events: ReaderEvents
  #tick: number | null
  /** It goes on from what the peer had, which the peer has not been told yet. */
  #goesOn: boolean
  /** Where the log was when it was followed. */
  #headTick: number | null = null
  #taking: Promise<void>
  #isFollowing = false
  #isPoking = false
  #isPoked = false
  readonly #over = Promise.withResolvers<void>()
  #isOver = false

  constructor(options: FollowedLogOptions, events: ReaderEvents) {
    this.#options = options
    this.#events = events
    this.#tick = options.after ?? null
    this.#goesOn = this.#tick !== null
    this.#taking = this.#follow()
  }

  poke(): void {
    this.#isPoked = true
    if (!this.#isPoking) void this.#poke()
  }

  /** What the sequencer says. Resolves once it is taken in, so that the next comes after it. */
  async hear(message: Hear): Promise<void> {
    const mustNotWait = !this.#isFollowing
    this.#taking = this.#taking.then(() => this.#take(message))
    // The sequencer may be waiting for this before it answers where the log begins.
    if (!mustNotWait) await this.#taking
  }

  async close(): Promise<void> {
    if (this.#isOver) return
    this.#isOver = true
    this.#over.resolve()
    await this.#options.closed?.()
  }

  /** Never rejects: tries until it follows, or is over. */
  async #follow(): Promise<void> {
    const { namespace, peer, sequencer, before } = this.#options
    this.#isFollowing = false
    await before
    for (let pauseMs = AGAIN_MS; !this.#isOver; pauseMs = Math.min(pauseMs * 2, MAX_AGAIN_MS)) {
      try {
        const { head, tick = this.#tick } = await sequencer().follow({ v, namespace, peer, after: this.#tick })
        if (head !== null) await this.#begin(head)
        this.#headTick = tick
        this.#isFollowing = true
        this.#check()
        return
      } catch (error) {
        this.#events.failed(error)
      }
      await this.#pause(pauseMs)
    }
  }

  /** `isAll`: the log has nothing more. What it has no more of by now are times, and a later one comes. */
  #check({ isAll = false } = {}): void {
    const head = this.#headTick
    if (!this.#goesOn || head === null || (head > (this.#tick ?? -1) && !isAll)) return
    this.#goesOn = false
    this.#events.wentOn?.(head)
  }

  async #begin(head: Parameters<ReaderEvents['begun']>[0]): Promise<void> {
    this.#tick = null
    this.#goesOn = false
    await this.#events.begun(head)
    this.#tick = head.tick
  }

  /** Never rejects. */
  async #take(message: Hear): Promise<void> {
    if (this.#isOver) return
    try {
      const tick = this.#tick ?? -1
      if ('begun' in message) {
        // It may have heard so as it followed, and what it knows is of after that.
        if (tick < message.begun.baseTick) await this.#begin(message.begun)
        return
      }
      const { after, entries } = message
      // A hole: what is in it comes again.
      if (after > tick) return await this.#follow()
      const fresh = entries.filter((entry) => entry.tick > tick)
      const last = fresh.at(-1)
      if (last !== undefined) {
        await this.#events.read(fresh)
        this.#tick = last.tick
      }
      this.#check({ isAll: entries.length === 0 })
    } catch (error) {
      this.#events.failed(error)
      this.#tick = null
      await this.#follow()
    }
  }

  /** Never rejects. */
  async #poke(): Promise<void> {
    const { namespace, sequencer } = this.#options
    this.#isPoking = true
    for (let tries = 0; this.#isPoked && !this.#isOver && tries < MAX_POKES; tries++) {
      this.#isPoked = false
      try {
        await sequencer().poke({ v, namespace })
        tries = 0
      } catch (error) {
        this.#events.failed(error)
        this.#isPoked = true
        await this.#pause(AGAIN_MS)
      }
    }
    this.#isPoking = false
  }

  async #pause(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, ms)
    await Promise.race([promise, this.#over.promise])
    clearTimeout(timer)
  }
}
