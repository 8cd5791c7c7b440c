// One namespace at one peer: the log comes in, tick by tick; queries step; who is interested hears.
//
//   reader ── entries ──▶ commands ──▶ registry ┐
//                    └──▶ steps of jobs ────────┴──▶ dataflow ──▶ changes of each query ──▶ its audience
//
// A tick is taken in at one go, and between two all is consistent: a snapshot taken there is of that tick.
import { CallplaneError } from '../protocol/errors.ts'
import type { PeerStatus } from '../protocol/live.ts'
import { answeredWithin } from '../protocol/object-message.ts'
import { frameOf, Listener, type Interest, type Reach } from './audience.ts'
import { CommandLine } from './command-line.ts'
import type { Command, Sent } from './commands.ts'
import { Condenser } from './condense.ts'
import { loadCheckpoint } from './checkpoint.ts'
import { errorFrame } from './fault.ts'
import type { RelationChange } from './kernel/dataflow.ts'
import type { Entry } from './log.ts'
import { Neighbours } from './neighbours.ts'
import type { LogReader } from './reader.ts'
import { LEASE_MS, Presence } from './presence.ts'
import { Queries } from './queries.ts'
import type { Registry } from './registry.ts'
import { Resume } from './resume.ts'
import { MAX_ROWS, type RoomOptions, type RoomState } from './room-options.ts'
import { emptyRoom, roomAt } from './room-state.ts'
import type { Head } from './stamp.ts'
import { loadOf, statusOf } from './standing.ts'
import { changesOfStep } from './step-changes.ts'
import { Ticks } from './ticks.ts'
import { Turns } from './turns.ts'
import { WindowTime } from './window-time.ts'

/** A query that nobody is interested in any more goes on for so long. */
const LINGER_MS = 60_000
/** Another peer that has come further in the log is let wait for so long. */
const REACH_MS = 10_000
/** Entries between two breaths. */
const ENTRIES_A_TURN = 500

export class Room {
  readonly #namespace: string
  readonly #options: RoomOptions
  readonly #reader: LogReader
  readonly #turns = new Turns(() => this.#turn())
  readonly #line: CommandLine
  readonly #ticks = new Ticks()
  readonly #time: WindowTime
  readonly #begun: PromiseWithResolvers<void> = Promise.withResolvers()
  readonly #resume: Resume
  readonly #presence: Presence
  readonly #condenser: Condenser
  #registry: Registry
  readonly #queries: Queries
  #isOver = false

  constructor(namespace: string, options: RoomOptions) {
    this.#namespace = namespace
    this.#options = options
    const checkpoint = loadCheckpoint(options)
    const state = checkpoint ?? emptyRoom(options)
    this.#registry = state.registry
    this.#ticks.begin(state.tick)
    const { maxRows = MAX_ROWS, lingerMs = LINGER_MS } = options
    const [poke, ticks] = [() => this.poke(), this.#ticks]
    this.#resume = new Resume({ ...options, namespace, maxRows, poke })
    this.#presence = new Presence({ ...options, ...options.presence, namespace, load: () => loadOf(this.status()) })
    this.#line = new CommandLine(options.sql, namespace)
    this.#condenser = new Condenser(options.sql, namespace, { breathe: options.breathe })
    this.#time = new WindowTime(options.sql, namespace, crypto.randomUUID())
    this.#queries = new Queries(state, {
      ...options,
      namespace,
      ticks,
      time: this.#time,
      neighbours: this.#neighbours(),
      maxRows,
      lingerMs,
      poke: () => this.#reader.poke(),
    })
    this.#begun.promise.catch(() => {})
    const events = {
      begun: (head: Head) => this.#begin(head),
      read: (entries: readonly Entry[]) => this.#read(entries),
      wentOn: (tick: number) => this.#wentOn(tick > state.tick ? checkpoint?.doubtful : []),
      failed: (error: unknown) => this.#unable('log_unread', error),
    }
    this.#reader = options.openLog(events, checkpoint?.tick ?? null)
  }

  status(): PeerStatus {
    const { peer, clients } = this.#options
    const lag = Math.max(this.#presence.lag, this.#queries.lag)
    return { peer, tick: this.#ticks.now, lag, clients: clients(), ...statusOf(this.#queries.running) }
  }

  /** What it has made of the log so far, for who compares it with others. */
  get state(): RoomState {
    const { flow, watched } = this.#queries
    return { tick: this.#ticks.now, registry: this.#registry, flow, watched }
  }

  poke(): void {
    this.#presence.poked()
    this.#turns.want()
    this.#reader.poke()
  }

  async close(): Promise<void> {
    this.#isOver = true
    this.#turns.stop()
    this.#queries.close()
    const error = new CallplaneError('closed', 'the peer closes')
    this.#begun.reject(error)
    this.#line.fail(error)
    this.#time.release()
    this.#ticks.close()
    await this.#reader.close()
    await this.#presence.leave().catch((reason: unknown) => this.#unable('peer_row_left', reason))
  }

  /** Appends commands of a client and waits until each has been applied here: null, or why it was not. */
  async append(client: string, commands: readonly Command[]): Promise<(CallplaneError | null)[]> {
    await this.#begun.promise
    await this.#options.arm()
    const check = (command: Command): void => this.#registry.check(command)
    return this.#line.append(client, commands, { check, appended: () => this.#reader.poke() })
  }

  /** The others are to know that it is there. */
  async join(): Promise<void> {
    await this.#begun.promise
    await this.#presence.renew()
  }

  /** Whether another peer may ask for pieces of queries. */
  async admits(ticket: string): Promise<boolean> {
    return this.#presence.admits(ticket)
  }

  /** From here on the client hears of the query: its rows now, or what it missed since `from`, and every change. */
  async listen(reach: Reach, request: Interest): Promise<void> {
    const { id, from } = request
    await this.#begun.promise
    if (request.tick !== undefined) await this.#reach(request.tick)
    const standing = await this.#queries.stand(request)
    const { name } = standing
    const missed = from === undefined ? null : await this.#resume.past(standing, from, this.#registry)
    if (reach.isOver) return
    // It was unregistered, or the log began anew, since it stood.
    if (!this.#queries.isRunning(standing)) return this.listen(reach, request)
    standing.checkSendable()
    const listener = new Listener(reach, { ...request, tick: standing.tick })
    standing.audience.set(reach, listener)
    this.#turns.want()
    const rest = missed === null ? null : standing.since(missed.until)
    if (request.isRestored !== true) reach.send(frameOf({ Ok: id }))
    const isKnown = from !== undefined && missed !== null && rest !== null
    if (isKnown) return standing.replay(listener, from, [...missed.changes, ...rest])
    if (from !== undefined) reach.send(frameOf({ Reset: [name, `what came after tick ${from} is no longer known`] }))
    listener.snapshot(standing)
  }

  /** The log up to a tick that another peer has read. */
  async #reach(tick: number): Promise<void> {
    if (this.#ticks.now >= tick) return
    this.poke()
    await answeredWithin(REACH_MS, this.#ticks.until(tick), 'the log').catch(() => {})
    if (this.#ticks.now >= tick) return
    throw new CallplaneError('database_unavailable', `this peer has not come to tick ${tick}: ask again, or another`)
  }

  /** What it is interested in, as it can ask for it again. */
  interestsOf(reach: Reach): Interest[] {
    return this.#queries.interestsOf(reach)
  }

  /** Says whether it was interested. */
  leave(reach: Reach, name: string): boolean {
    if (!this.#queries.leave(reach, name)) return false
    this.#turns.want()
    return true
  }

  leaveAll(reach: Reach): void {
    if (this.#queries.leaveAll(reach)) this.#turns.want()
  }

  /** The client reads again. */
  drained(reach: Reach): void {
    this.#queries.drained(reach)
  }

  /** The log has gone on from the checkpoint. Nobody listens before. */
  #wentOn(doubtful: readonly string[] = []): void {
    for (const name of doubtful) this.#queries.retire(name)
    this.#begun.resolve()
  }

  /** Begins at a tick: at first, and again where events were left out, when everything that was known is void. */
  async #begin({ tick }: Head): Promise<void> {
    const state = await roomAt(this.#namespace, tick, this.#options)
    this.#registry = state.registry
    this.#ticks.begin(tick)
    const before = this.#queries.begin(state)
    this.#begun.resolve()
    this.#turns.want()
    this.#time.release()
    this.#line.fail(new CallplaneError('database_unavailable', 'whether the command was applied is not known'))
    for (const standing of before) {
      const { asked, audience } = standing
      standing.reset('events were left out while nobody watched')
      for (const { reach, id } of audience.values()) {
        if (reach.isOver) continue
        this.listen(reach, { id, ...asked }).catch((error: unknown) => reach.send(errorFrame(id, error)))
      }
    }
  }

  async #read(entries: readonly Entry[]): Promise<void> {
    let sinceBreath = 0
    for (let at = 0; at < entries.length;) {
      const tick = entries[at]?.tick ?? 0
      const from = at
      while (at < entries.length && entries[at]?.tick === tick) at++
      this.#step(tick, entries.slice(from, at))
      sinceBreath += at - from
      if (sinceBreath < ENTRIES_A_TURN) continue
      sinceBreath = 0
      this.#queries.settle()
      await this.#options.breathe()
      if (this.#isOver) return
    }
    this.#queries.settle()
  }

  /** One tick. */
  #step(tick: number, entries: readonly Entry[]): void {
    const changes: RelationChange[] = []
    const done: (() => void)[] = []
    for (const entry of entries) {
      if ('command' in entry) {
        const { number, command } = entry.command as unknown as Sent // as appended by a peer
        const applied = this.#registry.apply(command, entry.atMs)
        if ('Time' in command || 'Due' in command) this.#time.came()
        if ('PeerGone' in command) this.#presence.gone(command.PeerGone.peer)
        for (const change of applied.changes) changes.push(change)
        const tell = number === undefined ? null : this.#line.applied(entry.client, number, applied)
        if (tell !== null) done.push(tell)
        if ('Unregister' in command && applied.error === null) this.#queries.retire(command.Unregister.name)
      } else changes.push(...changesOfStep(entry))
    }
    this.#ticks.move(tick, changes)
    this.#queries.step(changes)
    for (const tell of done) tell()
    this.#ticks.moved()
    this.#presence.stepped()
    this.#turns.want()
  }

  /** Once a second: time for windows, progress, and an end for what nobody wants any more. Says whether there is more to do. */
  #turn(): boolean {
    this.#presence.turn().catch((error: unknown) => this.#unable('peer_unrenewed', error))
    this.#condenser.turn(this.#registry.applied).catch((error: unknown) => this.#unable('commands_uncondensed', error))
    const { isWatched, hasTime, isOwing } = this.#queries.turn()
    const { nextMs } = this.#registry
    const wanted = isWatched ? this.#time.wanted({ nextMs, hasWindow: hasTime }) : null
    if (wanted === null) return isOwing || this.#presence.isPoked || (isWatched && nextMs !== null)
    const moved = this.#time.turn(wanted).then(() => this.#reader.poke())
    moved.catch((error: unknown) => this.#unable('time_unmoved', error))
    return true
  }

  #neighbours(): Neighbours | null {
    const {
      dial,
      peer,
      invite = async () => false,
      presence: { leaseMs: inviteEveryMs = LEASE_MS } = {},
    } = this.#options
    if (dial === undefined) return null
    const listen = (reach: Reach, request: Interest): Promise<void> => this.listen(reach, request)
    const leave = (reach: Reach): void => this.leaveAll(reach)
    const [namespace, presence] = [this.#namespace, this.#presence]
    return new Neighbours({ namespace, peer, presence, dial, invite, inviteEveryMs, listen, leave })
  }

  #unable(event: string, reason: unknown): void {
    this.#options.log({ level: 'warn', event, detail: String(reason) })
  }
}
