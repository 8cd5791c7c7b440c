// The Durable Object that gives the ticks of a namespace and tells them to its peers: one per namespace, which sleeps.
//
// It looks when it is poked, which every writer does after its commit while somebody watches. A writer that dies before its
// poke has armed the bell, which told of it: then the alarm looks once when the arm runs out. So nothing keeps it awake,
// and what it must know in its next life is on disk.
import { DurableObject } from 'cloudflare:workers'
import type { Sql } from '../db/sql.ts'
import {
  answeredWithin,
  checkVersion,
  OBJECT_MESSAGE_VERSION as v,
  type ObjectMessage,
} from '../protocol/object-message.ts'
import { readLog, type Entry } from './log.ts'
import { Look } from './look.ts'
import type { Armed, Follow, Followed, Hear, PeerCalls, Poke, SequencerCalls, Unfollow } from './object-messages.ts'
import type { Head } from './stamp.ts'

/** Entries of one message, some hundred bytes each: it must fit into an object beside all that is there. */
const LIMIT = 1_000
/** Who has missed more begins anew: reading it for one peer would hold up what is new for all. */
const MAX_MISSED_TICKS = 10_000
/** While there may be writers that do not know that they are to poke. */
const LOOK_EVERY_MS = 1_000
/** Another stamps: what it leaves without a tick when it dies is found soon after its lease. */
const LOOK_BEHIND_MS = 500
/** After a look failed, or a peer did not answer. */
const AGAIN_MS = 5_000
const ANSWERED_WITHIN_MS = 10_000
/** An arm is as long by the clock of whoever made it. */
const SLACK_MS = 1_000

/** What the host has for it. */
export interface SequencerHost {
  sql: Sql
  peer: (name: string) => PeerCalls
  /**
   * Tells the bell whether somebody watches. Writers hear of it when they arm the bell; for how long there may be arms from
   * before, and for how long writers that do not arm anew.
   */
  watch: (namespace: string, isWatched: boolean) => Promise<{ armedForMs: number; unknownForMs: number }>
  log: (event: { level: 'warn' | 'error'; event: string; detail: string }) => void
}

/** What is on disk. */
interface Known {
  namespace: string
  /** As whom it stamps: a UUID, the same in all of its lives. Else it would wait for its own lease to run out. */
  holder: string
  tick: number | null
  /** Since when it stamps; not known in one of before. */
  epoch?: number | null
  baseTick: number
  /** The bell knows that somebody watches. */
  isBellTold: boolean
  /** By peer: up to where it has heard; null: it is just beginning. */
  followers: Record<string, number | null>
}

export abstract class SleepingSequencer<Env> extends DurableObject<Env> implements SequencerCalls {
  #known: Known | null = null
  /** Not made of the object's id, which a second plane over the same database may have as well. */
  #holder: string = crypto.randomUUID()
  #kept = ''
  #look: Look | null = null
  #telling: Promise<unknown> = Promise.resolve()
  #looksUntilMs = -Infinity
  #timer: ReturnType<typeof setTimeout> | undefined
  #running: Promise<void> = Promise.resolve()
  #next: Promise<void> | null = null

  protected abstract readonly host: SequencerHost

  async follow(message: Follow): Promise<Followed> {
    const known = await this.#open(message)
    const { peer, after } = message
    // It is told nothing before it knows where it begins.
    known.followers[peer] = null
    if (!known.isBellTold) await this.#begin(known, peer)
    const look = this.#lookOf(known)
    // A life of this one that did not come to keep its tick may have told of more.
    if (look.tick === null || (after ?? 0) > look.tick) await this.#lookSoon()
    if (look.tick === null) throw new Error('the log cannot be read: follow again')
    const goesOn = after !== null && after <= look.tick && look.tick - after <= MAX_MISSED_TICKS
    known.followers[peer] = goesOn ? after : look.tick
    if (known.followers[peer] < look.tick) void this.#lookSoon()
    await this.#keep()
    return { v, head: goesOn ? null : { tick: look.tick, baseTick: known.baseTick }, tick: look.tick }
  }

  async unfollow(message: Unfollow): Promise<void> {
    const known = await this.#open(message)
    delete known.followers[message.peer]
    await this.#endIfAlone(known)
  }

  async poke(message: Poke): Promise<void> {
    const known = await this.#open(message)
    if (await this.#endIfAlone(known)) return
    return this.#lookSoon()
  }

  async armed(message: Armed): Promise<void> {
    const known = await this.#open(message)
    if (await this.#endIfAlone(known)) return
    await this.#lookAtEndOf(message.forMs)
    // Whoever claims arms after its commit.
    void this.#lookSoon()
  }

  override async alarm(): Promise<void> {
    const armedUntilMs = (await this.ctx.storage.get<number>('armedUntilMs')) ?? 0
    if (armedUntilMs > Date.now()) await this.#alarmAt(armedUntilMs)
    await this.#load()
    if (this.#known !== null) await this.#lookSoon()
  }

  async #load(): Promise<void> {
    if (this.#known !== null) return
    const known = await this.ctx.storage.get<Known>('known')
    if (known === undefined || this.#known !== null) return
    this.#holder = known.holder
    // Who was just beginning got no answer, and begins again.
    const followers = Object.entries(known.followers).filter(([, tick]) => tick !== null)
    this.#known = { ...known, followers: Object.fromEntries(followers) }
  }

  async #open(message: ObjectMessage & { namespace: string }): Promise<Known> {
    try {
      checkVersion(message)
    } catch (error) {
      this.host.log({ level: 'error', event: 'sequencer_refused', detail: String(error) })
      throw error
    }
    await this.#load()
    const { namespace } = message
    return (this.#known ??= {
      namespace,
      holder: this.#holder,
      tick: null,
      baseTick: 0,
      isBellTold: false,
      followers: {},
    })
  }

  #lookOf({ namespace, holder, tick, epoch = null }: Known): Look {
    const events = {
      begun: (head: Head) => this.#begun(head),
      read: (entries: readonly Entry[]) => this.#read(entries),
    }
    return (this.#look ??= new Look(this.host.sql, namespace, events, { holder, tick, epoch, limit: LIMIT }))
  }

  /** Somebody watches. From before the first look, writers that arm the bell hear of it. */
  async #begin(known: Known, peer: string): Promise<void> {
    try {
      const { armedForMs, unknownForMs } = await this.#tellBell(known.namespace)
      known.isBellTold = true
      if (armedForMs > 0) await this.#lookAtEndOf(armedForMs)
      if (unknownForMs <= 0) return
      this.#looksUntilMs = performance.now() + unknownForMs + SLACK_MS
      this.#lookIn(LOOK_EVERY_MS)
    } catch (error) {
      delete known.followers[peer]
      throw error
    }
  }

  /** One after the other, and each what is true when its turn comes. */
  #tellBell(namespace: string): ReturnType<SequencerHost['watch']> {
    const telling = this.#telling.then(() => this.host.watch(namespace, this.#followers().length > 0))
    this.#telling = telling.catch(() => {})
    return telling
  }

  /** Nobody watches any more: nothing is left of it, and nobody tells it anything. */
  async #endIfAlone({ namespace, followers }: Known): Promise<boolean> {
    if (Object.keys(followers).length > 0) return false
    await this.#running
    if (Object.keys(followers).length > 0 || this.#known?.followers !== followers) return false
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#known = null
    this.#look = null
    this.#kept = ''
    await this.ctx.storage.deleteAlarm()
    await this.ctx.storage.deleteAll()
    await this.#tellBell(namespace).catch((error: unknown) => {
      this.host.log({ level: 'warn', event: 'bell_unreached', detail: String(error) })
    })
    return true
  }

  /** A look that begins from now on, however many want one. Never rejects. */
  #lookSoon(): Promise<void> {
    this.#next ??= this.#running.then(() => {
      this.#next = null
      return (this.#running = this.#takeLooks())
    })
    return this.#next
  }

  /** Until nothing is found. Never rejects. */
  async #takeLooks(): Promise<void> {
    const known = this.#known
    if (known === null) return
    const look = this.#lookOf(known)
    try {
      while ((await look.take()) > 0 && Object.keys(known.followers).length > 0);
      await Promise.all(Object.keys(known.followers).map((peer) => this.#catchUp(known, look, peer)))
      known.tick = look.tick
      known.epoch = look.epoch
      await this.#keep()
      if (look.epoch === null) this.#lookIn(LOOK_BEHIND_MS)
      else if (performance.now() < this.#looksUntilMs) this.#lookIn(LOOK_EVERY_MS)
    } catch (error) {
      look.failed()
      this.host.log({ level: 'warn', event: 'log_unread', detail: String(error) })
      await this.#alarmAt(Date.now() + AGAIN_MS)
    }
  }

  #lookIn(ms: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      void this.#lookSoon()
    }, ms)
  }

  /** Where events were left out, what the peers know is void. */
  async #begun(head: Head): Promise<void> {
    if (this.#known !== null) this.#known.baseTick = head.baseTick
    for (const [peer, tick] of this.#followers()) {
      if (tick !== null && tick < head.baseTick) await this.#tell(peer, { begun: head }, head.tick)
    }
  }

  async #read(entries: readonly Entry[]): Promise<void> {
    const [after, tick] = [this.#look?.tick ?? 0, entries.at(-1)?.tick ?? 0]
    const next = [...this.#followers()].filter(([, has]) => has === after)
    await Promise.all(next.map(([peer]) => this.#tell(peer, { after, entries }, tick)))
  }

  /** Reads for one peer what it has missed: it did not answer in time, or comes back. */
  async #catchUp(known: Known, look: Look, peer: string): Promise<void> {
    for (;;) {
      const after = known.followers[peer]
      if (after === undefined || after === null || look.tick === null || after >= look.tick) return
      const { baseTick, entries } = await readLog(this.host.sql, known.namespace, { after, limit: LIMIT })
      const isLost = baseTick > after
      const tick = isLost ? look.tick : (entries.at(-1)?.tick ?? look.tick)
      const hasHeard = await this.#tell(peer, isLost ? { begun: { tick, baseTick } } : { after, entries }, tick)
      if (!hasHeard) return
    }
  }

  #followers(): [peer: string, tick: number | null][] {
    return Object.entries(this.#known?.followers ?? {})
  }

  /** Says whether the peer has heard. Never rejects. */
  async #tell(peer: string, what: { begun: Head } | { after: number; entries: readonly Entry[] }, tick: number) {
    const known = this.#known
    if (known === null) return false
    try {
      const message: Hear = { v, namespace: known.namespace, ...what }
      const { isFollowing } = await answeredWithin(ANSWERED_WITHIN_MS, this.host.peer(peer).hear(message), 'the peer')
      if (!(peer in known.followers)) return false
      if (isFollowing) known.followers[peer] = tick
      else delete known.followers[peer]
      return isFollowing
    } catch (error) {
      this.host.log({ level: 'warn', event: 'peer_unreached', detail: `${peer}: ${String(error)}` })
      await this.#alarmAt(Date.now() + AGAIN_MS)
      return false
    }
  }

  async #keep(): Promise<void> {
    if (this.#known === null) return
    const text = JSON.stringify(this.#known)
    if (text === this.#kept) return
    this.#kept = text
    await this.ctx.storage.put('known', this.#known)
  }

  async #lookAtEndOf(forMs: number): Promise<void> {
    const untilMs = Date.now() + forMs + SLACK_MS
    await this.ctx.storage.put('armedUntilMs', untilMs)
    await this.#alarmAt(untilMs)
  }

  /** Unless it rings sooner. */
  async #alarmAt(atMs: number): Promise<void> {
    const knownMs = await this.ctx.storage.getAlarm()
    if (knownMs === null || knownMs > atMs) await this.ctx.storage.setAlarm(atMs)
  }
}
