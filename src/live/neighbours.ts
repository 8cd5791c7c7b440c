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
  listen: (reach: Reach, interest: Interest) => Promise<void>
  leave: (reach: Reach) => void
}

/** A peer that was not reached is left alone for so long. */
const SUSPECT_MS = 15_000

export class Neighbours {
  readonly #options: NeighboursOptions
  /** By id: until when, in the terms of `performance.now()`. */
  readonly #suspects = new Map<string, number>()

  constructor(options: NeighboursOptions) {
    this.#options = options
  }

  /** Who is there is asked anew. */
  async look(): Promise<void> {
    await this.#options.presence.renew()
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
