// The Durable Object of the bell: one per namespace, which sleeps while the polls wait, and one for the alarm.
//
// It accepts the sockets of the waiters so that it may hibernate: whatever it must know of a waiter is attached to the
// socket, and what else it knows is on disk. It is evicted at any time, without harm.
import { DurableObject } from 'cloudflare:workers'
import type {
  Request as WorkerRequest,
  Response as WorkerResponse,
  WebSocket as WorkerSocket,
  WebSocketPair as WorkerSocketPair,
} from '@cloudflare/workers-types'
import { checkVersion, OBJECT_MESSAGE_VERSION as v, type ObjectMessage } from '../protocol/object-message.ts'
import { ARM_MS } from './arms.ts'
import { newCalm } from './calm.ts'
import { owedRings, type OwedRing } from './owed.ts'

// workerd's own, where the DOM library has another or none of the name.
declare const WebSocketPair: typeof WorkerSocketPair
declare const Response: typeof WorkerResponse

/** What a socket waits for. Calls are named by the end of their ids: a thousand must fit into 16 KiB. */
export type Attachment = RunnerAttachment | { calls: readonly string[] }

interface RunnerAttachment {
  claimId: string
  services: readonly string[]
  kind: string
  joinedAtMs?: number
  isRung?: boolean
}

interface RunnerSocket {
  socket: WorkerSocket
  attachment: RunnerAttachment
}

/** A call that ended, and what its waiter is sent: where there is nothing, it looks. */
export interface Carried {
  id: string
  message?: Uint8Array
}

/** A sweep: when it began, and when it wants the next. */
export interface Swept {
  atMs: number
  wantedAtMs: number
}

/** What a writer that arms the bell hears: whether somebody watches the namespace, who is to be poked after each commit. */
export interface ArmAnswer extends ObjectMessage {
  isWatched: boolean
}

/** Whether somebody watches the namespace. */
export interface Watch extends ObjectMessage {
  namespace: string
  isWatched: boolean
}

/** For how long somebody may still commit who has armed the bell before, and for how long without arming it anew. */
export interface WatchAnswer extends ObjectMessage {
  armedForMs: number
  unknownForMs: number
}

export const shortId = (id: string): string => id.slice(-12)

/** What goes over a socket to its waiter, beside outcomes; and what comes from it: that a look found nothing. */
type Message = 'rung' | 'replaced'
export const NOTHING = 'nothing'

/** What a waiter is told when it joins: that it need not look; or not yet; that it is to tell of a look that found nothing. */
export const QUIET_HEADER = 'callplane-quiet'
export const CALM_HEADER = 'callplane-calm'
export const TELL_HEADER = 'callplane-tell'

/** WebSocket.OPEN, by the standard; workerd names it otherwise. */
const OPEN = 1
/** After the database did not answer, the sweep is tried again so much later. */
const AFTER_FAILURE_MS = 5_000
/** What is still overdue after a sweep is locked by another, or has just come. */
const AGAIN_MS = 1_000

/** Holds the waiters of one namespace, or the alarm. The Worker that has the database says how to sweep. */
export abstract class SleepingBell<Env> extends DurableObject<Env> {
  #armedUntilMs: number | null = null
  /** The namespace, where somebody watches it. */
  #watched: string | null | undefined
  /**
   * In memory, since a ring must not cost a write: an object that is evicted within the second forgets them. Their timer
   * keeps the object from hibernating for as long as a look takes, and for a second where none comes.
   */
  readonly #owed = owedRings<WorkerSocket>((ring) => {
    if (!this.#wakeNext(this.#sockets('claimId'), ring)) this.#calm.untaken(ring.service)
  })
  readonly #calm = newCalm(Date.now)

  /** Runs the sweep; returns in how many milliseconds it is wanted again. */
  protected abstract sweep(): Promise<number | null>

  /** Tells who stamps a namespace that somebody may commit there for so long. Never rejects. */
  protected abstract tellArmed(namespace: string, forMs: number): Promise<void>

  /** Sets the alarm, unless it is set to ring sooner. */
  async alarmBy(inMs: number): Promise<void> {
    const wantedMs = Date.now() + inMs
    const knownMs = await this.ctx.storage.getAlarm()
    if (knownMs === null || knownMs > wantedMs) await this.ctx.storage.setAlarm(wantedMs)
  }

  override async alarm(): Promise<void> {
    let nextMs: number | null = AFTER_FAILURE_MS
    try {
      nextMs = await this.sweep()
    } finally {
      if (nextMs !== null) await this.alarmBy(Math.max(nextMs, AGAIN_MS))
    }
  }

  override async fetch(request: WorkerRequest): Promise<WorkerResponse> {
    const { 0: client, 1: server } = new WebSocketPair()
    const attachment = JSON.parse(request.headers.get('callplane-interest') ?? '{}') as Attachment // from our own Worker
    if ('claimId' in attachment) {
      for (const socket of this.#sockets('claimId')) {
        if (socket.attachment.claimId === attachment.claimId) tell(socket.socket, 'replaced')
      }
    }
    const nowMs = Date.now()
    const armedUntilMs = await this.#armedUntil()
    const isUnarmed = nowMs > armedUntilMs
    let isQuiet = false
    if (isUnarmed && 'claimId' in attachment) {
      const nothing = await this.ctx.storage.get<Record<string, number>>('nothing')
      isQuiet = (nothing?.[attachment.kind] ?? 0) > armedUntilMs
    }
    this.ctx.acceptWebSocket(server)
    server.serializeAttachment('claimId' in attachment ? { ...attachment, joinedAtMs: nowMs } : attachment)
    let isOwing = false
    let isCalm = false
    if ('claimId' in attachment) {
      const { claimId, kind, services } = attachment
      isOwing = this.#owed.joined(claimId)
      isCalm = this.#calm.isCalm(claimId, kind, services) && !isOwing
    }
    const headers = {
      [QUIET_HEADER]: isQuiet && !isOwing ? '1' : '0',
      [CALM_HEADER]: isCalm ? '1' : '0',
      [TELL_HEADER]: isUnarmed || isOwing || !isCalm ? '1' : '0',
    }
    return new Response(null, { status: 101, webSocket: client, headers })
  }

  /** A look that began when the waiter joined, or later, found nothing. */
  override async webSocketMessage(socket: WorkerSocket, message: string | ArrayBuffer): Promise<void> {
    const attachment = socket.deserializeAttachment() as Attachment | null // written by fetch above
    if (message !== NOTHING || attachment === null || !('claimId' in attachment)) return
    const { claimId, kind, joinedAtMs = 0 } = attachment
    this.#owed.looked(claimId, socket)
    this.#calm.foundNothing(kind, joinedAtMs)
    const armedUntilMs = await this.#armedUntil()
    if (joinedAtMs <= armedUntilMs) return
    const known = (await this.ctx.storage.get<Record<string, number>>('nothing')) ?? {}
    // What was found out before the last arm is worth nothing any more.
    const fresh = Object.entries(known).filter(([, atMs]) => atMs > armedUntilMs)
    await this.ctx.storage.put('nothing', { ...Object.fromEntries(fresh), [kind]: joinedAtMs })
  }

  /** Somebody may commit from now on. */
  async arm(): Promise<ArmAnswer> {
    this.#armedUntilMs = Date.now() + ARM_MS
    await this.ctx.storage.put('armedUntilMs', this.#armedUntilMs)
    if (this.#watched === undefined) this.#watched = (await this.ctx.storage.get<string>('watched')) ?? null
    if (this.#watched === null) return { v, isWatched: false }
    await this.tellArmed(this.#watched, ARM_MS)
    return { v, isWatched: true }
  }

  /** Somebody begins to watch the namespace, or nobody does any more. */
  async watch(message: Watch): Promise<WatchAnswer> {
    checkVersion(message)
    const { namespace, isWatched } = message
    this.#watched = isWatched ? namespace : null
    if (isWatched) await this.ctx.storage.put('watched', namespace)
    else await this.ctx.storage.delete('watched')
    const armedForMs = (await this.#armedUntil()) - Date.now()
    return { v, armedForMs, unknownForMs: armedForMs - ARM_MS / 2 }
  }

  async isQuietSince(atMs: number): Promise<boolean> {
    const armedUntilMs = await this.#armedUntil()
    return Date.now() > armedUntilMs && atMs > armedUntilMs
  }

  /** Of the object that keeps the alarm: whether the last sweep saw all that there is. */
  async isSwept(): Promise<boolean> {
    const swept = await this.ctx.storage.get<Swept>('swept')
    return swept !== undefined && Date.now() < swept.wantedAtMs && this.isQuietSince(swept.atMs)
  }

  async swept(swept: Swept): Promise<void> {
    // While an arm is live there will have to be another sweep.
    if (swept.atMs > (await this.#armedUntil())) await this.ctx.storage.put('swept', swept)
  }

  /** Kept on disk, since the object is evicted while nothing happens. Who has never been armed knows of nothing. */
  async #armedUntil(): Promise<number> {
    this.#armedUntilMs ??= (await this.ctx.storage.get<number>('armedUntilMs')) ?? null
    if (this.#armedUntilMs === null) await this.arm()
    return this.#armedUntilMs ?? Number.POSITIVE_INFINITY
  }

  /** Wakes as many waiters as there are jobs, and all who wait for the calls. */
  ring(due: readonly { service: string; jobs: number }[], ended: readonly Carried[]): void {
    const runners = due.length === 0 ? [] : this.#sockets('claimId')
    for (const { service, jobs } of due) {
      for (let left = jobs; left > 0; left--) {
        if (this.#wakeNext(runners, { claim: null, service, isSpare: false })) continue
        this.#calm.untaken(service)
        break
      }
    }
    if (ended.length === 0) return
    const byShortId = new Map(ended.map((call) => [shortId(call.id), call]))
    for (const { socket, attachment } of this.#sockets('calls')) {
      const calls = attachment.calls.flatMap((id) => byShortId.get(id) ?? [])
      // Told to look, it finds all of them.
      if (calls.some(({ message }) => message === undefined)) tell(socket, 'rung')
      else for (const { message } of calls) if (message !== undefined) tell(socket, message)
    }
  }

  /** Wakes one, of another claim than the one that was given this ring before; says whether there was one. */
  #wakeNext(
    runners: readonly RunnerSocket[],
    { claim: before, service, isSpare }: Pick<OwedRing<never>, 'service' | 'isSpare'> & { claim: string | null },
  ): boolean {
    const next = runners.find(
      ({ attachment: { claimId, services, isRung } }) =>
        isRung !== true && claimId !== before && services.includes(service),
    )
    if (next === undefined) return false
    const { socket, attachment } = next
    // One ring, one look: the next ring wakes another. The socket stays, so that a newer poll with the same claim id
    // still ends this one while it looks.
    attachment.isRung = true
    socket.serializeAttachment(attachment)
    this.#owed.rung({ waiter: socket, claim: attachment.claimId, service, isSpare })
    tell(socket, 'rung')
    return true
  }

  #sockets<K extends 'claimId' | 'calls'>(kind: K) {
    return this.ctx.getWebSockets().flatMap((socket) => {
      const attachment = socket.deserializeAttachment() as Attachment | null // written by fetch above
      if (attachment === null || !(kind in attachment) || socket.readyState !== OPEN) return []
      return [{ socket, attachment: attachment as Extract<Attachment, Record<K, unknown>> }] // kind was just checked
    })
  }

  override webSocketClose(socket: WorkerSocket, _code: number, _reason: string, wasClean: boolean): void {
    const attachment = socket.deserializeAttachment() as Attachment | null // written by fetch above
    // The socket of an isolate that dies closes too, but without its word: nobody says that there was a look.
    if (wasClean && attachment !== null && 'claimId' in attachment) this.#owed.looked(attachment.claimId, socket)
    socket.close()
  }
}

/** A socket that is just going must not keep the others from hearing. */
function tell(socket: WorkerSocket, message: Message | Uint8Array): void {
  try {
    socket.send(message)
    if (message === 'replaced') socket.close(1000, message)
  } catch {
    // Its waiter has gone.
  }
}
