// The Durable Object that is a peer: its clients' sockets stay while it sleeps, and it goes on with them when something comes.
//
// A socket does not say of which namespace its client is before its key has come, so that each of a few objects serves any.
// What is attached to a socket is all that its next life needs: whose it is, and what it has been told.
import { DurableObject } from 'cloudflare:workers'
import type {
  Request as WorkerRequest,
  Response as WorkerResponse,
  WebSocket as WorkerSocket,
  WebSocketPair as WorkerSocketPair,
  WebSocketRequestResponsePair as WorkerRequestResponsePair,
} from '@cloudflare/workers-types'
import { CallplaneError } from '../protocol/errors.ts'
import { SIGN_OF_LIFE, SIGN_OF_LIFE_ANSWER } from '../protocol/sign-of-life.ts'
import { checkVersion, OBJECT_MESSAGE_VERSION as v } from '../protocol/object-message.ts'
import { Checkpoints } from './checkpoints.workerd.ts'
import { FollowedLogs } from './followed-logs.ts'
import { MSGPACK_PROTOCOL, offersMsgpack } from './msgpack-frames.ts'
import type { Hear, Heard, PeerCalls, SequencerCalls } from './object-messages.ts'
import { Peer, type PeerOptions } from './peer.ts'
import type { Session } from './session.ts'
import { close, connectionOf, end, endMoved, keyOf, noteMsgpack, OPEN, receive } from './sockets.workerd.ts'
import { attach, attachedTo, attachedWhole, forgetAttached, type Attached } from './socket-attachment.workerd.ts'

// workerd's own, where the DOM library has another or none of the name.
declare const WebSocketPair: typeof WorkerSocketPair
declare const WebSocketRequestResponsePair: typeof WorkerRequestResponsePair
declare const Response: typeof WorkerResponse

/** What the host has for it. */
export interface PeerHost extends Omit<
  PeerOptions,
  'openLog' | 'checkpoint' | 'breathe' | 'lingerMs' | 'recheckMs' | 'closed' | 'log'
> {
  sequencer: (namespace: string) => SequencerCalls
  /** Throws where a key that was right before no longer opens the namespace. */
  recheck: (keyId: string, namespace: string) => Promise<void>
  log: (event: { level: 'warn' | 'error'; event: string; detail: string }) => void
}

/** Of an object; some 15 KB each while it is awake, of the 128 MB that it has. Cloudflare's own bound is 32,768. */
const MAX_SOCKETS = 4_000
/** A client that has not brought its key by then ends. */
const SILENT_MS = 10_000
/** A revoked key stops within a minute; while the object sleeps, nothing is told to anybody. */
const RECHECK_MS = 30_000
/** A timer keeps the object awake and billed. */
const LINGER_MS = 5_000
/** What was told is attached so much later, once for all that was told meanwhile. */
const ATTACH_MS = 100

/** A socket in this life of the object. */
interface Guest {
  session: Session
  attached: Attached
  checkedAtMs: number
  /** What it says is taken in one after the other. */
  taking: Promise<void> | null
}

export abstract class SleepingPeer<Env> extends DurableObject<Env> implements PeerCalls {
  readonly #logs = new FollowedLogs({
    peer: () => this.ctx.id.name ?? '',
    sequencer: (namespace) => this.host.sequencer(namespace),
    closed: (namespace) => this.#checkpoints.forget(namespace),
  })
  readonly #guests = new Map<WorkerSocket, Guest>()
  #peer: Peer | null = null
  /** The same in each of its lives: who sleeps is not missed by the others. */
  #id: string = crypto.randomUUID()
  #mustWatchSilent = false
  #attaching: ReturnType<typeof setTimeout> | undefined
  readonly #checkpoints = new Checkpoints({
    storage: this.ctx.storage,
    namespaces: () => this.#logs.namespaces,
    stateOf: (namespace) => this.#peer?.stateOf(namespace) ?? null,
    log: (event) => this.host.log(event),
  })

  protected abstract readonly host: PeerHost

  constructor(...params: ConstructorParameters<typeof DurableObject<Env>>) {
    super(...params)
    // A client that asks whether its peer is there does not wake it.
    this.ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair(SIGN_OF_LIFE, SIGN_OF_LIFE_ANSWER))
    noteMsgpack(this.ctx.getWebSockets(MSGPACK_PROTOCOL))
    void this.ctx.blockConcurrencyWhile(async () => {
      const known = await this.ctx.storage.get<string>('id')
      if (known === undefined) await this.ctx.storage.put('id', this.#id)
      else this.#id = known
    })
  }

  override async fetch(request: WorkerRequest): Promise<WorkerResponse> {
    if (this.ctx.getWebSockets().length >= MAX_SOCKETS) return new Response(null, { status: 503 })
    const { 0: client, 1: server } = new WebSocketPair()
    const isPacked = offersMsgpack(request.headers.get('sec-websocket-protocol'))
    this.ctx.acceptWebSocket(server, isPacked ? [MSGPACK_PROTOCOL] : [])
    if (isPacked) noteMsgpack([server])
    const attached: Attached = { acceptedAtMs: Date.now(), guest: null, interests: [] }
    server.serializeAttachment(attached)
    const key = keyOf(request)
    if (key !== undefined) this.#admit(server, attached, { key })
    this.#mustWatchSilent = true
    await this.#alarmIn(SILENT_MS)
    const headers = isPacked ? { 'sec-websocket-protocol': MSGPACK_PROTOCOL } : {}
    return new Response(null, { status: 101, webSocket: client, headers })
  }

  override async webSocketMessage(socket: WorkerSocket, message: string | ArrayBuffer): Promise<void> {
    const guest = this.#guests.get(socket) ?? (await this.#find(socket))
    if (guest === null) return
    const { keyId } = guest.attached.guest ?? {}
    if (keyId !== undefined && guest.taking === null && Date.now() - guest.checkedAtMs < RECHECK_MS) {
      return this.#receive(socket, guest, message)
    }
    const before = guest.taking ?? Promise.resolve()
    const taking = before.then(() => this.#check(guest)).then(() => this.#receive(socket, guest, message))
    guest.taking = taking
    await taking
    if (guest.taking === taking) guest.taking = null
  }

  override webSocketClose(socket: WorkerSocket): Promise<void> {
    return this.#gone(socket)
  }

  override webSocketError(socket: WorkerSocket): Promise<void> {
    return this.#gone(socket)
  }

  async hear(message: Hear): Promise<Heard> {
    try {
      checkVersion(message)
    } catch (error) {
      this.host.log({ level: 'error', event: 'peer_refused', detail: String(error) })
      throw error
    }
    const { namespace } = message
    await this.#restore(namespace)
    const guests = [...this.#guests.values()].filter(({ attached }) => attached.guest?.namespace === namespace)
    await Promise.all(guests.map((guest) => this.#check(guest)))
    const log = this.#logs.of(namespace)
    if (log === undefined) return { v, isFollowing: false }
    await log.hear(message)
    this.#attachSoon()
    return { v, isFollowing: true }
  }

  /** Who has not brought a key goes. */
  override async alarm(): Promise<void> {
    let nextMs = Infinity
    for (const [socket, acceptedAtMs] of this.#silent()) {
      const leftMs = acceptedAtMs + SILENT_MS - Date.now()
      if (leftMs > 0) nextMs = Math.min(nextMs, leftMs)
      else end(socket, new CallplaneError('unauthorized', `no key came within ${SILENT_MS / 1_000} s`))
    }
    if (nextMs < Infinity) await this.#alarmIn(nextMs)
  }

  /** Those that have not brought a key, and since when. */
  #silent(): [socket: WorkerSocket, acceptedAtMs: number][] {
    return this.ctx.getWebSockets().flatMap((socket) => {
      const { guest, acceptedAtMs } = this.#guests.get(socket)?.attached ?? attachedTo(socket)
      return guest === null && socket.readyState === OPEN ? [[socket, acceptedAtMs]] : []
    })
  }

  #admit(socket: WorkerSocket, attached: Attached, { key }: { key?: string } = {}): Guest {
    const { guest: restored, interests } = attached
    const session = this.#peerOf().accept(connectionOf(socket), {
      ...(key === undefined ? {} : { key }),
      ...(restored === null ? {} : { restored: { namespace: restored.namespace, interests: interests ?? [] } }),
      entered: ({ namespace, keyId = '' }) => {
        guest.attached = { ...guest.attached, guest: { namespace, keyId } }
        guest.checkedAtMs = Date.now()
        this.#attachSoon()
      },
    })
    const guest: Guest = { session, attached, checkedAtMs: restored === null ? Date.now() : -Infinity, taking: null }
    this.#guests.set(socket, guest)
    return guest
  }

  #peerOf(): Peer {
    const { sequencer: _, log, ...host } = this.host
    return (this.#peer ??= new Peer({
      ...host,
      id: this.#id,
      log,
      lingerMs: LINGER_MS,
      recheckMs: Infinity,
      breathe: () => new Promise((resolve) => setTimeout(resolve, 0)),
      checkpoint: (namespace) => this.#checkpoints.read(namespace),
      openLog: (namespace, events, after) => this.#logs.open(namespace, events, after),
    }))
  }

  /** A socket of an earlier life; all of its namespace go on with it. Null: it cannot go on. */
  async #find(socket: WorkerSocket): Promise<Guest | null> {
    const attached = attachedTo(socket)
    if (attached.guest === null) return this.#admit(socket, attached)
    await this.#restore(attached.guest.namespace)
    return this.#guests.get(socket) ?? null
  }

  async #restore(namespace: string): Promise<void> {
    for (const socket of this.ctx.getWebSockets()) {
      if (this.#guests.has(socket) || socket.readyState !== OPEN || attachedTo(socket).guest?.namespace !== namespace)
        continue
      const attached = await attachedWhole(this.ctx.storage, socket)
      if (this.#guests.has(socket)) continue
      // It had asked for something, and nobody knows whether it was answered.
      if (attached.interests === null) endMoved(socket)
      else this.#admit(socket, attached)
    }
  }

  /** Never rejects. A database that does not answer revokes nothing. */
  async #check(guest: Guest): Promise<void> {
    const { guest: known } = guest.attached
    const nowMs = Date.now()
    if (known === null || nowMs - guest.checkedAtMs < RECHECK_MS) return
    guest.checkedAtMs = nowMs
    try {
      await this.host.recheck(known.keyId, known.namespace)
    } catch (error) {
      const isRefused = error instanceof CallplaneError && (error.code === 'unauthorized' || error.code === 'forbidden')
      if (isRefused) guest.session.end(error)
    }
  }

  #receive(socket: WorkerSocket, { session }: Guest, message: string | ArrayBuffer): void {
    receive(socket, session, message)
    this.#attachSoon()
  }

  async #gone(socket: WorkerSocket): Promise<void> {
    const guest = this.#guests.get(socket)
    const { guest: known } = guest?.attached ?? attachedTo(socket)
    this.#guests.delete(socket)
    guest?.session.closed()
    close(socket, 1000, '')
    await forgetAttached(this.ctx.storage, socket)
    if (guest !== undefined || known === null || this.#logs.of(known.namespace) !== undefined) return
    const others = this.ctx.getWebSockets().filter((other) => other !== socket)
    if (others.some((other) => attachedTo(other).guest?.namespace === known.namespace)) return
    this.#checkpoints.forget(known.namespace)
    await this.#logs.leave(known.namespace)
  }

  /** Before the object can fall asleep, which a timer keeps it from. */
  #attachSoon(): void {
    this.#checkpoints.soon()
    if (this.#attaching !== undefined) return
    this.#attaching = setTimeout(() => {
      this.#attaching = undefined
      void this.#attachAll()
    }, ATTACH_MS)
  }

  /** Never rejects. */
  async #attachAll(): Promise<void> {
    let isOwing = false
    for (const [socket, guest] of this.#guests) {
      if (guest.session.isOver) continue
      const { interests } = guest.session
      isOwing ||= interests === null
      guest.attached = await attach(this.ctx.storage, socket, { ...guest.attached, interests })
    }
    // It would wake the object for nothing.
    if (this.#mustWatchSilent && this.#silent().length === 0) {
      this.#mustWatchSilent = false
      await this.ctx.storage.deleteAlarm()
    }
    // An answer that is owed keeps the object awake.
    if (isOwing) this.#attachSoon()
  }

  async #alarmIn(ms: number): Promise<void> {
    if ((await this.ctx.storage.getAlarm()) === null) await this.ctx.storage.setAlarm(Date.now() + ms)
  }
}
