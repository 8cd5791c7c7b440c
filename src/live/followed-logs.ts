// The logs that a peer, which is an object, follows: of each namespace one, and one after the other.
import { answeredWithin, OBJECT_MESSAGE_VERSION as v } from '../protocol/object-message.ts'
import { FollowedLog } from './followed-log.ts'
import type { SequencerCalls } from './object-messages.ts'
import type { ReaderEvents } from './reader.ts'

export interface FollowedLogsOptions {
  /** By which name the sequencers reach the peer. */
  peer: () => string
  sequencer: (namespace: string) => SequencerCalls
  closed: (namespace: string) => void
}

/** A sequencer that has not heard by then finds out when it next has something to tell. */
const LEFT_WITHIN_MS = 5_000

export class FollowedLogs {
  readonly #options: FollowedLogsOptions
  readonly #logs = new Map<string, FollowedLog>()
  /** By namespace: the sequencer is being told that nobody follows. */
  readonly #leaving = new Map<string, Promise<void>>()

  constructor(options: FollowedLogsOptions) {
    this.#options = options
  }

  get namespaces(): Iterable<string> {
    return this.#logs.keys()
  }

  of(namespace: string): FollowedLog | undefined {
    return this.#logs.get(namespace)
  }

  /** Opens the log, from after what the peer has already; null: it has nothing. */
  open(namespace: string, events: ReaderEvents, after: number | null): FollowedLog {
    const { peer, sequencer, closed } = this.#options
    const log: FollowedLog = new FollowedLog(
      {
        namespace,
        peer: peer(),
        sequencer: () => sequencer(namespace),
        after,
        // Calls may overtake each other: if the end of the log before came last, the peer would hear nothing more.
        before: this.#leaving.get(namespace),
        closed: () => {
          this.#logs.delete(namespace)
          closed(namespace)
          return this.leave(namespace)
        },
      },
      events,
    )
    this.#logs.set(namespace, log)
    return log
  }

  /** Tells the sequencer that nobody here follows any more, also where an earlier life of the peer did. Never rejects. */
  leave(namespace: string): Promise<void> {
    const { peer, sequencer } = this.#options
    const before = this.#leaving.get(namespace) ?? Promise.resolve()
    const left = before
      .then(() => {
        const unfollowed = sequencer(namespace).unfollow({ v, namespace, peer: peer() })
        return answeredWithin(LEFT_WITHIN_MS, unfollowed, 'the sequencer')
      })
      .catch(() => {})
      .then(() => {
        if (this.#leaving.get(namespace) === left) this.#leaving.delete(namespace)
      })
    this.#leaving.set(namespace, left)
    return left
  }
}
