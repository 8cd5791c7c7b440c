// A peer: takes clients' connections, appends their commands to the log, and lets them hear of what they are interested in.
// It knows no transport and no runtime, and nothing that a client sends stops it.
import type { Sql } from '../db/sql.ts'
import { CallplaneError } from '../protocol/errors.ts'
import type { PeerStatus } from '../protocol/live.ts'
import type { Plan } from '../protocol/plan.ts'
import type { Acceptor, Connection } from './connection.ts'
import type { PresenceTimes } from './presence.ts'
import type { Dial } from './piece-feed.ts'
import type { LogReader, ReaderEvents } from './reader.ts'
import type { RoomState } from './room-options.ts'
import { Room } from './room.ts'
import { namespaceOf } from './ticket.ts'
import { Session, type Guest, type SessionOptions } from './session.ts'

export interface PeerOptions {
  /** A UUID. Default: a new one. */
  id?: string
  /** For reading tables and appending commands. */
  sql: Sql
  /** Whose key it is; throws `unauthorized`, or `forbidden` where it may not watch the whole namespace. */
  authenticate: (key: string) => Promise<Guest>
  /** Before a commit: others must look for it, also where this process dies right after. Default: nobody must. */
  arm?: (namespace: string) => Promise<void>
  /** Begins to read the log of a namespace. */
  openLog: (namespace: string, events: ReaderEvents, after: number | null) => LogReader
  /** As rooms know it. */
  checkpoint?: (namespace: string) => string | null
  /** Queries that every namespace has. */
  builtIn?: ReadonlyMap<string, Plan>
  /** Lets other things have their turn. */
  breathe: () => Promise<void>
  /** How other peers are reached, to share large queries with them. Default: each runs whole where its clients are. */
  dial?: Dial
  /** Where others reach this one over HTTP; null: they do not. */
  address?: () => string | null
  /**
   * Asks the peers of all other processes to join a namespace, so that they hold pieces of its queries. Whether there may be any;
   * never rejects. Default: there are none.
   */
  invite?: (namespace: string) => Promise<boolean>
  /** What a query may hold. Default 1,000,000 rows. */
  maxRows?: number
  /** A namespace without clients goes on for so long, and so does a query, for those that come back. Default 60 s. */
  lingerMs?: number
  /** When it tells the others that it is there. */
  presence?: PresenceTimes
  /** As sessions know it. */
  recheckMs?: number
  log: (event: { level: 'warn'; event: string; detail: string }) => void
  /** Called once the peer has closed. */
  closed?: () => Promise<void>
}

const LINGER_MS = 60_000

interface RoomEntry {
  room: Room
  /** Sessions, and of these those of other peers. */
  sessions: number
  peers: number
  timer?: ReturnType<typeof setTimeout>
}

export class Peer implements Acceptor {
  readonly id: string
  readonly #options: PeerOptions
  readonly #rooms = new Map<string, RoomEntry>()
  readonly #sessions = new Set<Session>()
  #isOver = false

  constructor(options: PeerOptions) {
    this.#options = options
    this.id = options.id ?? crypto.randomUUID()
  }

  accept(
    connection: Connection,
    { key, restored, entered }: Pick<SessionOptions, 'key' | 'restored' | 'entered'> = {},
  ): Session {
    const { authenticate, breathe, recheckMs } = this.#options
    const session = new Session(connection, {
      authenticate,
      breathe,
      admit: (ticket) => this.#admit(ticket),
      enter: (namespace, of) => this.#enter(namespace, of),
      left: (namespace, of) => {
        this.#sessions.delete(session)
        if (namespace !== null) this.#leave(namespace, of)
      },
      fault: (error) => this.#options.log({ level: 'warn', event: 'live_request_failed', detail: String(error) }),
      ...(key === undefined ? {} : { key }),
      ...(restored === undefined ? {} : { restored }),
      ...(entered === undefined ? {} : { entered }),
      ...(recheckMs === undefined ? {} : { recheckMs }),
    })
    if (this.#isOver) session.end(closing())
    else this.#sessions.add(session)
    return session
  }

  /** Something may have been written: in this namespace, or anywhere. */
  poke(namespace?: string): void {
    if (namespace !== undefined) this.#rooms.get(namespace)?.room.poke()
    else for (const { room } of this.#rooms.values()) room.poke()
  }

  /** It was invited: it can be asked for pieces of queries of the namespace, until it has not been for a while. */
  join(namespace: string): void {
    const { dial, address = () => null } = this.#options
    if (this.#isOver || dial === undefined || address() === null) return
    const known = this.#rooms.get(namespace)
    const entry = known ?? this.#add(namespace)
    if (entry.sessions === 0) this.#endLater(namespace, entry)
    if (known === undefined) entry.room.join().catch(() => {}) // With its next turn it is.
  }

  /** What it has made of a namespace's log, for who compares peers; null where none of its clients is. */
  stateOf(namespace: string): RoomState | null {
    return this.#rooms.get(namespace)?.room.state ?? null
  }

  /** How it does, in each namespace where it has clients, or was invited. */
  status(): PeerStatus[] {
    return Array.from(this.#rooms.values(), ({ room }) => room.status())
  }

  async close(): Promise<void> {
    this.#isOver = true
    for (const session of this.#sessions) session.end(closing())
    const rooms = [...this.#rooms.values()]
    this.#rooms.clear()
    for (const { timer } of rooms) clearTimeout(timer)
    await Promise.all(rooms.map(({ room }) => room.close()))
    await this.#options.closed?.()
  }

  #enter(namespace: string, { isPeer }: { isPeer: boolean }): Room {
    const entry = this.#rooms.get(namespace) ?? this.#add(namespace)
    clearTimeout(entry.timer)
    entry.sessions++
    if (isPeer) entry.peers++
    return entry.room
  }

  #add(namespace: string): RoomEntry {
    const entry = { room: this.#open(namespace), sessions: 0, peers: 0 }
    this.#rooms.set(namespace, entry)
    return entry
  }

  #open(namespace: string): Room {
    const {
      sql,
      openLog,
      breathe,
      log,
      maxRows,
      lingerMs,
      presence,
      dial,
      address,
      invite,
      builtIn = new Map<string, Plan>(),
    } = this.#options
    const { arm = async () => {}, checkpoint = () => null } = this.#options
    return new Room(namespace, {
      peer: this.id,
      clients: () => this.#clients(namespace),
      sql,
      builtIn,
      breathe,
      log,
      arm: () => arm(namespace),
      openLog: (events, after) => openLog(namespace, events, after),
      checkpoint: () => checkpoint(namespace),
      ...(maxRows === undefined ? {} : { maxRows }),
      ...(lingerMs === undefined ? {} : { lingerMs }),
      ...(presence === undefined ? {} : { presence }),
      ...(dial === undefined ? {} : { dial }),
      ...(address === undefined ? {} : { address }),
      ...(invite === undefined ? {} : { invite: () => invite(namespace) }),
    })
  }

  /** A peer that knows of this one's room there. */
  async #admit(ticket: string): Promise<string> {
    const namespace = namespaceOf(ticket)
    const room = namespace === null ? undefined : this.#rooms.get(namespace)?.room
    if (namespace !== null && (await room?.admits(ticket)) === true) return namespace
    throw new CallplaneError('unauthorized', 'the ticket is not good here')
  }

  #clients(namespace: string): number {
    const { sessions = 0, peers = 0 } = this.#rooms.get(namespace) ?? {}
    return sessions - peers
  }

  #leave(namespace: string, { isPeer }: { isPeer: boolean }): void {
    const entry = this.#rooms.get(namespace)
    if (entry === undefined) return
    if (isPeer) entry.peers--
    if (--entry.sessions === 0) this.#endLater(namespace, entry)
  }

  /** Unless somebody comes. */
  #endLater(namespace: string, entry: RoomEntry): void {
    clearTimeout(entry.timer)
    entry.timer = setTimeout(() => {
      this.#rooms.delete(namespace)
      entry.room.close().catch((error: unknown) => {
        this.#options.log({ level: 'warn', event: 'live_close_failed', detail: String(error) })
      })
    }, this.#options.lingerMs ?? LINGER_MS)
    if (typeof entry.timer === 'object') entry.timer.unref()
  }
}

function closing(): CallplaneError {
  return new CallplaneError('closed', 'the peer closes: connect anew')
}
