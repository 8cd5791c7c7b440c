// A client of the raw wire that goes on at another peer whenever its own is gone, and holds whoever it talks to to the protocol.
import type { LiveResult, RequestId } from '../../../src/protocol/live.ts'
import { pause } from '../stage.ts'
import { Sum, type Ledger } from './ledger.ts'
import { textOf } from './queries.ts'

const RECONNECT_MS = 200
const ASK_AGAIN_MS = 300
/** A peer in trouble says so, and is asked again. */
const TRANSIENT: ReadonlySet<string> = new Set(['database_unavailable', 'closed'])

interface View {
  rows: Map<string, number>
  sum: Sum
  tick: number
  /** All is void until the next snapshot. */
  isReset: boolean
  /** It has come back, and was told nothing yet. */
  isBack: boolean
}

export interface WatcherOptions {
  name: string
  /** Where the peers are, the next one to try at each turn. */
  url: () => string
  key: string
  ledger: Ledger
  /** The queries that it watches. */
  names: readonly string[]
}

export class Watcher {
  readonly name: string
  readonly #options: WatcherOptions
  readonly #views = new Map<string, View>()
  #socket: WebSocket | null = null
  /** By the id of the request: what is told of its end. */
  #asked = new Map<RequestId, (error: string | null) => void>()
  #id = 0
  #isOver = false
  /** Sentences on what a peer must not say. */
  readonly faults: string[] = []
  /** How often a query went on after a cut without a snapshot, and how often with one. */
  resumed = 0
  begunAnew = 0
  /** Why it was told that a query is void while it was connected. */
  readonly resets: string[] = []
  diffs = 0

  constructor(options: WatcherOptions) {
    this.#options = options
    this.name = options.name
    this.#connect()
  }

  /** Where it has come to in the query that it knows least of; -1: one of them has not begun. */
  get tick(): number {
    return Math.min(...this.#options.names.map((name) => this.#views.get(name)?.tick ?? -1))
  }

  get isConnected(): boolean {
    return this.#socket?.readyState === WebSocket.OPEN
  }

  rows(name: string): string[] {
    const rows = [...(this.#views.get(name)?.rows ?? [])]
    return rows.flatMap(([text, count]) => Array.from({ length: count }, () => text)).toSorted()
  }

  /** Sends one request until it is done, over however many connections. */
  async ask(tag: string, body: object): Promise<void> {
    while (!this.#isOver) {
      const error = await this.#ask(tag, body)
      if (error === null) return
      await pause(ASK_AGAIN_MS)
    }
  }

  close(): void {
    this.#isOver = true
    this.#socket?.close()
  }

  #connect(): void {
    if (this.#isOver) return
    const socket = new WebSocket(`${this.#options.url().replace('http', 'ws')}/v1/live`)
    this.#socket = socket
    socket.addEventListener('open', () => void this.#begin())
    socket.addEventListener('message', ({ data }) => {
      if (socket === this.#socket) this.#get(JSON.parse(String(data)) as LiveResult) // from a peer of ours
    })
    // One that could not be opened closes, too.
    socket.addEventListener('close', () => {
      const asked = [...this.#asked.values()]
      this.#asked = new Map()
      for (const answered of asked) answered('cut')
      setTimeout(() => this.#connect(), RECONNECT_MS)
    })
  }

  async #begin(): Promise<void> {
    if ((await this.#ask('Auth', { key: this.#options.key })) !== null) return
    for (const name of this.#options.names) void this.#listen(name, this.#socket)
  }

  /** Asks until the query is there, on one connection. */
  async #listen(name: string, socket: WebSocket | null): Promise<void> {
    while (socket === this.#socket && this.isConnected && !this.#isOver) {
      const view = this.#views.get(name)
      const isKnown = view !== undefined && !view.isReset
      if (isKnown) view.isBack = true
      if ((await this.#ask('Interest', { name, ...(isKnown ? { from: view.tick } : {}) })) === null) return
      await pause(ASK_AGAIN_MS)
    }
  }

  /** Null, or the code of the error. */
  #ask(tag: string, body: object): Promise<string | null> {
    if (!this.isConnected) return Promise.resolve('cut')
    const id = ++this.#id
    const { promise, resolve } = Promise.withResolvers<string | null>()
    this.#asked.set(id, resolve)
    this.#socket?.send(JSON.stringify([{ id, [tag]: body }]))
    return promise
  }

  #get(result: LiveResult): void {
    if ('Ok' in result) this.#answered(result.Ok, null)
    else if ('Error' in result) this.#refused(...result.Error)
    else if ('Reset' in result) this.#reset(...result.Reset)
    else if ('Snapshot' in result) this.#snapshot(...result.Snapshot)
    else if ('QueryDiff' in result) {
      const [name, changes, tick] = result.QueryDiff
      this.#change(name, changes, tick)
    } else if ('Progress' in result) this.#progress(...result.Progress)
  }

  #answered(id: RequestId, error: string | null): void {
    this.#asked.get(id)?.(error)
    this.#asked.delete(id)
  }

  #refused(id: RequestId | null, code: string, message: string): void {
    if (!TRANSIENT.has(code)) this.#fault(`was told ${code}: ${message}`)
    if (id === null) return
    if (this.#asked.has(id)) return this.#answered(id, code)
    // A query that it listened to has been let go: it asks for it anew.
    this.#socket?.close()
  }

  #reset(name: string, reason: string): void {
    const view = this.#views.get(name)
    if (view === undefined) return this.#fault(`was told that ${name} is void before it had begun`)
    if (view.isReset) this.#fault(`was told twice that ${name} is void`)
    if (view.isBack) this.begunAnew++
    else this.resets.push(reason)
    view.isReset = true
  }

  #snapshot(name: string, rows: readonly object[], tick: number): void {
    const before = this.#views.get(name)
    if (before?.isReset === false) this.#fault(`got a snapshot of ${name} at ${tick}, without a reset`)
    const view: View = { rows: new Map(), sum: new Sum(), tick, isReset: false, isBack: false }
    this.#views.set(name, view)
    for (const row of rows) this.#add(name, view, row, 1)
    this.#note(name, view)
  }

  #change(name: string, changes: readonly (readonly [row: object, diff: number])[], tick: number): void {
    this.diffs++
    const view = this.#moved(name, tick)
    if (view === null) return
    if (changes.length === 0) this.#fault(`was told of an empty change of ${name} at ${tick}`)
    const texts = new Set(changes.map(([row]) => textOf(row)))
    if (texts.size < changes.length) this.#fault(`was told of a row twice in a change of ${name} at ${tick}`)
    for (const [row, diff] of changes) this.#add(name, view, row, diff)
    this.#note(name, view)
  }

  #progress(name: string, tick: number): void {
    const view = this.#moved(name, tick)
    if (view !== null) this.#note(name, view)
  }

  #moved(name: string, tick: number): View | null {
    const view = this.#views.get(name)
    if (view === undefined || view.isReset) {
      this.#fault(`was told of ${name} at ${tick} before its snapshot`)
      return null
    }
    if (tick <= view.tick) this.#fault(`was told of ${name} at ${tick} after ${view.tick}`)
    if (view.isBack) this.resumed++
    view.isBack = false
    view.tick = tick
    return view
  }

  #add(name: string, view: View, row: object, diff: number): void {
    const text = textOf(row)
    const count = (view.rows.get(text) ?? 0) + diff
    if (count < 0 || diff === 0) this.#fault(`holds ${count} of ${text} in ${name} at ${view.tick} after ${diff}`)
    if (count === 0) view.rows.delete(text)
    else view.rows.set(text, count)
    view.sum.add(text, diff)
  }

  #note(name: string, { tick, sum }: View): void {
    this.#options.ledger.note(name, tick, sum.value, this.name)
  }

  #fault(sentence: string): void {
    if (this.faults.length < 100) this.faults.push(`${this.name} ${sentence}`)
  }
}
