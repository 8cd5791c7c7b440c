// A query that runs in pieces at several peers, gathered at the one that its clients are connected to.
//
//   peer B ── piece 0 ── up to 7 ──┐
//   here ──── piece 1 ── up to 9 ──┼── ticks up to 7, each once, in order ──▶ merged ──▶ its audience
//   peer C ── piece 2 ── up to 8 ──┘
//
// A piece whose peer is lost is asked for at another one, from where it is: ticks wait meanwhile, and nobody sees a wrong row.
// Two peers may tell of a piece at once, as one takes over from the other: they say the same, and each tick counts once.
import { CallplaneError } from '../protocol/errors.ts'
import type { LiveResult, WireRow } from '../protocol/live.ts'
import { parseValue, type Columns, type Row } from '../protocol/relations.ts'
import { Bag, type Change } from './kernel/batch.ts'
import { keyOfRow } from './kernel/values.ts'
import { Merged } from './merged.ts'
import type { Feed, Hear, PieceRequest } from './piece-feed.ts'
import type { DividedPlan } from './shard-plan.ts'
import type { Running } from './standing.ts'
import { Ticks } from './ticks.ts'

export interface GatheringOptions {
  /** The id of this peer. */
  peer: string
  shards: number
  maxRows: number
  /** Up to where this peer has come itself. */
  log: Ticks
  /** Who is to hold each piece, as far as is known now. */
  holders: () => readonly string[]
  open: (holder: string, request: PieceRequest, hear: Hear) => Feed
}

export interface GatheringEvents {
  changed(changes: readonly Change[]): void
  stopped(): void
}

/** All that changed in a piece after one tick and up to another. */
interface Told {
  after: number
  tick: number
  changes: readonly Change[]
}

interface Holder {
  peer: string
  feed: Feed
}

interface Piece {
  at: number
  /** Up to where it has been told; −1: nothing yet. */
  tick: number
  /** What is not merged yet, in order. */
  told: Told[]
  current: Holder | null
  /** Asked, and has not answered: until then the current one is kept. */
  next: Holder | null
  /** Who could not answer, and until when it is not asked again. */
  failed: { peer: string; untilMs: number } | null
}

/** A holder that could not answer is asked again after so long. */
const RETRY_MS = 1_000
/** Of a piece that is ahead of the others, so many ticks stay apart; more are summed. */
const MAX_TOLD = 10_000

export class Gathering implements Running {
  readonly query = null
  readonly ticks: Ticks = new Ticks()
  readonly #name: string
  readonly #options: GatheringOptions
  readonly #merged: Merged
  readonly #pieces: Piece[]
  readonly #begun: PromiseWithResolvers<void> = Promise.withResolvers()
  #events: GatheringEvents | null = null
  #hasBegun = false
  #isOver = false

  constructor(name: string, divided: DividedPlan, options: GatheringOptions) {
    this.#name = name
    this.#options = options
    this.#merged = new Merged(divided, options)
    this.#pieces = Array.from({ length: options.shards }, (_, at) => {
      return { at, tick: -1, told: [], current: null, next: null, failed: null }
    })
    this.#begun.promise.catch(() => {})
  }

  /** Resolves once there is a whole result. */
  get begun(): Promise<void> {
    return this.#begun.promise
  }

  get hasBegun(): boolean {
    return this.#hasBegun
  }

  /** From here on changes are told. */
  tell(events: GatheringEvents): void {
    this.#events = events
  }

  get columns(): Columns {
    return this.#merged.columns
  }

  get stopped(): CallplaneError | null {
    return this.#merged.stopped
  }

  get held(): number {
    return this.#merged.held
  }

  get bytes(): number {
    return this.#merged.bytes
  }

  get count(): number {
    return this.#merged.count
  }

  rows(): [Row, number][] {
    return this.#merged.rows()
  }

  /** Whether it lacks a piece, or one is about to move. */
  get isMoving(): boolean {
    if (this.#isOver) return false
    return !this.#hasBegun || this.#pieces.some(({ current, next }) => current === null || next !== null)
  }

  /** Asks for the pieces where they are to be. */
  ensure(): void {
    if (this.#isOver || this.stopped !== null) return
    const holders = this.#options.holders()
    for (const piece of this.#pieces) {
      const wanted = holders[piece.at]
      if (wanted === undefined || piece.next?.peer === wanted) continue
      piece.next?.feed.close()
      piece.next = null
      if (piece.current?.peer === wanted) continue
      const { failed } = piece
      if (failed?.peer !== wanted || failed.untilMs <= performance.now()) this.#ask(piece, wanted)
    }
  }

  /** What has been told up to where all pieces have come, and this peer too. */
  advance(): void {
    if (this.#isOver || this.stopped !== null) return
    const until = Math.min(this.#options.log.now, ...this.#pieces.map(({ tick }) => tick))
    if (until < 0 || (this.#hasBegun && until <= this.ticks.now)) return
    const all = this.#pieces.flatMap(({ told }) => told)
    const due = new Set([...all.map(({ tick }) => tick), until].filter((tick) => tick <= until))
    const sums = all.filter(({ after, tick }) => tick - after > 1)
    for (const tick of [...due].toSorted((a, b) => a - b)) {
      // Of a sum over several ticks, nobody knows what belongs to one within.
      if (sums.some((one) => one.after < tick && tick < one.tick)) continue
      if (!this.#hasBegun || tick > this.ticks.now) this.#close(tick)
    }
  }

  end(error?: CallplaneError): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#begun.reject(error ?? new CallplaneError('closed', 'the query has ended'))
    for (const { current, next } of this.#pieces) for (const holder of [current, next]) holder?.feed.close()
    this.ticks.close()
  }

  #ask(piece: Piece, peer: string): void {
    const tick = Math.max(this.#options.log.now, piece.tick)
    const from = piece.tick < 0 ? {} : { from: piece.tick }
    const holder: Holder = { peer, feed: NONE }
    piece.next = holder
    holder.feed = this.#options.open(
      peer,
      { name: this.#name, piece: piece.at, tick, ...from },
      {
        told: (result) => {
          if (piece.current === holder || piece.next === holder) this.#hear(piece, holder, result)
        },
        failed: (error) => this.#lost(piece, holder, error),
      },
    )
  }

  #hear(piece: Piece, holder: Holder, result: LiveResult): void {
    if ('Snapshot' in result) this.#takeWhole(piece, result.Snapshot[1], result.Snapshot[2])
    else if ('QueryDiff' in result) {
      const [, changes, tick, after = tick - 1] = result.QueryDiff
      // A sum that begins before what is known here: asked for again, it comes tick by tick.
      if (after < Math.min(piece.tick, tick - 1) && tick > piece.tick) return this.#askAgain(piece, holder)
      if (tick > piece.tick) this.#take(piece, { after, tick, changes: this.#changesOf(changes) })
    } else if ('Progress' in result) piece.tick = Math.max(piece.tick, result.Progress[1])
    else return
    if (piece.next === holder) {
      piece.current?.feed.close()
      piece.current = holder
      piece.next = null
    }
    this.advance()
  }

  /** As a change of what is known of the piece. What another has told of it already, this one tells in the diffs that follow. */
  #takeWhole(piece: Piece, rows: readonly WireRow[], tick: number): void {
    if (tick < piece.tick) return
    const changes = new Bag()
    for (const wire of rows) {
      const row = this.#rowOf(wire)
      changes.add(keyOfRow(row), row, 1)
    }
    this.#merged.piece(piece.at).each((row, count) => changes.add(keyOfRow(row), row, -count))
    for (const one of piece.told) for (const [row, diff] of one.changes) changes.add(keyOfRow(row), row, -diff)
    this.#take(piece, { after: Math.min(piece.tick, tick - 1), tick, changes: changesIn(changes) })
  }

  #take(piece: Piece, told: Told): void {
    piece.tick = told.tick
    piece.told.push(told)
    if (piece.told.length <= MAX_TOLD) return
    const sum = new Bag()
    for (const one of piece.told) for (const [row, diff] of one.changes) sum.add(keyOfRow(row), row, diff)
    piece.told = [{ after: piece.told[0]?.after ?? -1, tick: told.tick, changes: changesIn(sum) }]
  }

  /** A tick is over: what changed up to there. */
  #close(tick: number): void {
    const changed = this.#pieces.map(({ at, told }) => {
      const later = told.findIndex((one) => one.tick > tick)
      return [at, told.splice(0, later < 0 ? told.length : later).flatMap(({ changes }) => changes)] as const
    })
    const changes = this.#merged.take(changed)
    if (this.stopped !== null) return this.#stop(this.stopped)
    if (!this.#hasBegun) {
      this.ticks.begin(tick)
      this.#hasBegun = true
      return this.#begun.resolve()
    }
    this.ticks.move(tick, [])
    this.#events?.changed(changes)
    this.ticks.moved()
  }

  #askAgain(piece: Piece, { peer, feed }: Holder): void {
    feed.close()
    if (piece.current?.feed === feed) piece.current = null
    this.#ask(piece, peer)
  }

  #lost(piece: Piece, holder: Holder, error: CallplaneError): void {
    if (piece.current === holder) piece.current = null
    else if (piece.next === holder) piece.next = null
    else return
    if (error.code === 'query_stopped') {
      this.#merged.stop(error)
      return this.#stop(error)
    }
    // What this peer cannot begin, the client is told.
    if (!this.#hasBegun && holder.peer === this.#options.peer) return this.end(error)
    piece.failed = { peer: holder.peer, untilMs: performance.now() + RETRY_MS }
    this.ensure()
  }

  #stop(error: CallplaneError): void {
    this.#events?.stopped()
    this.end(error)
  }

  #changesOf(changes: readonly (readonly [row: WireRow, diff: number])[]): Change[] {
    return changes.map(([row, diff]) => [this.#rowOf(row), diff])
  }

  #rowOf(wire: WireRow): Row {
    return Array.from(this.#merged.given, ([name, type]) => parseValue(type, wire[name] ?? null) ?? null)
  }
}

const NONE: Feed = { close: () => {} }

function changesIn(bag: Bag): Change[] {
  const changes: Change[] = []
  bag.each((row, diff) => changes.push([row, diff]))
  return changes
}
