// What peers, which are objects, and the sequencer of a namespace tell each other on Cloudflare.
//
//   peer                    sequencer                 writer, or the bell
//    │── follow(after 7) ────▶│                         │
//    │                        │◀──────────── poke ──────│ committed
//    │                        │── stamp, read           │
//    │◀── hear(after 7, …) ───│                         │
//
// A peer that has not heard of a tick asks for it: what is told twice is known by its tick, and what is lost is a hole.
import type { ObjectMessage } from '../protocol/object-message.ts'
import type { Entry } from './log.ts'
import type { Head } from './stamp.ts'

interface OfNamespace extends ObjectMessage {
  namespace: string
}

/** The peer has all up to `after`; null: nothing, and it begins where the log is. */
export interface Follow extends OfNamespace {
  peer: string
  after: number | null
}

/** Where a peer begins that has nothing, or nothing that can be gone on from; null: it goes on. */
export interface Followed extends ObjectMessage {
  head: Head | null
  /** How far the log has come: a peer that goes on hears of all up to there. One of before does not say it. */
  tick?: number
}

export interface Unfollow extends OfNamespace {
  peer: string
}

/** Something may have been committed. */
export type Poke = OfNamespace

/** Somebody may commit something for so long, and die before the poke. */
export interface Armed extends OfNamespace {
  forMs: number
}

/** What came after a tick; or all that is known is void, and the log begins anew. */
export type Hear = OfNamespace & ({ begun: Head } | { after: number; entries: readonly Entry[] })

/** Whether the peer wants to hear more of the namespace. */
export interface Heard extends ObjectMessage {
  isFollowing: boolean
}

/** The sequencer, as those see it who tell it something. */
export interface SequencerCalls {
  follow(message: Follow): Promise<Followed>
  unfollow(message: Unfollow): Promise<void>
  /** Resolves when a look that began after it is over, and those who follow have heard what it found. */
  poke(message: Poke): Promise<void>
  armed(message: Armed): Promise<void>
}

/** A peer, as the sequencer sees it. */
export interface PeerCalls {
  hear(message: Hear): Promise<Heard>
}
