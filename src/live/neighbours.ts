// The other peers of a namespace, as the one sees them that gathers a query from them.
import type { Interest, Reach } from './audience.ts'
import { holdersOf } from './holders.ts'
import { localFeed, remoteFeed, type Dial, type Feed, type Hear, type PieceRequest } from './piece-feed.ts'
import type { Presence } from './presence.ts'
import { signTicket } from './ticket.ts'

export interface NeighboursOptions {
  namespace: string
  /** The id of this peer, which always holds its share. */
  peer: string
  presence: Presence
  dial: Dial
  /** Asks the other processes to take part. Whether there may be any. Never rejects. */
  invite: () => Promise<boolean>
  /** Shorter than a peer stays that holds nothing. */
  inviteEveryMs: number
  listen: (reach: Reach, interest: Interest) => Promise<void>
  leave: (reach: Reach) => void
}

/** A peer that was not reached is left alone for so long. */
const SUSPECT_MS = 15_000
/** Those who are invited are there by then, or later. */
const COME_MS = 500

export class Neighbours {
  readonly #options: NeighboursOptions
  /** By id: until when, in the terms of `performance.now()`. */
  readonly #suspects = new Map<string, number>()
  #invited = { atMs: -Infinity, tick: -1 }
  #coming: Promise<void> = Promise.resolve()

  constructor(options: NeighboursOptions) {
    this.#options = options
  }

  /** Who is there is asked anew, once those who were not have had time to come. */
  async look(tick: number): Promise<void> {
    this.#invite(tick)
    await this.#coming
    await this.#options.presence.renew()
  }

  /** The log has come here, and queries are shared: now and then those are invited who have begun since. */
  stepped(tick: number): void {
    if (tick !== this.#invited.tick) this.#invite(tick)
  }

  #invite(tick: number): void {
    const { invite, inviteEveryMs } = this.#options
    const nowMs = performance.now()
    if (nowMs - this.#invited.atMs < inviteEveryMs) return
    this.#invited = { atMs: nowMs, tick }
    this.#coming = invite().then(async (areOthers) => {
      if (areOthers) await new Promise((resolve) => setTimeout(resolve, COME_MS))
    })
  }

  holders(name: string, shards: number): string[] {
    const nowMs = performance.now()
    for (const [peer, untilMs] of this.#suspects) if (untilMs <= nowMs) this.#suspects.delete(peer)
    const { peer, presence } = this.#options
    const others = [...presence.others.keys()].filter((id) => !this.#suspects.has(id))
    return holdersOf(name, shards, [peer, ...others])
  }

  open(holder: string, request: PieceRequest, hear: Hear): Feed {
    const { namespace, peer, presence, dial } = this.#options
    if (holder === peer) return localFeed(this.#options, request, hear)
    const { address = '', secret = '' } = presence.others.get(holder) ?? {}
    const ticket = signTicket(namespace, secret, presence.databaseNowMs)
    const lost = (): void => void this.#suspects.set(holder, performance.now() + SUSPECT_MS)
    return remoteFeed({ address, ticket, dial, lost }, request, hear)
  }
}
