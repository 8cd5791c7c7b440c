// A peer that speaks the wire of live queries, behind a WebSocket of its own: a test says what rows there are, and what breaks.
import { CallplaneError, type ErrorCode } from '../../src/protocol/errors.ts'
import {
  parseLiveFrame,
  type Attribute,
  type LiveRequest,
  type LiveResult,
  type RequestId,
  type RequestTag,
  type WireChange,
  type WireRow,
} from '../../src/protocol/live.ts'
import { from, type CallplaneOptions } from '../../src/sdk/index.ts'
import { expect } from 'vitest'
import { KEY, setup } from './fake-plane.ts'

type Listeners = Map<string, ((event: { data: unknown }) => void)[]>

/** One connection, from the client's side. */
export class FakeSocket {
  readonly url: string
  /** Name → id of the request. */
  readonly interests: Map<string, RequestId> = new Map()
  /** Frames of both directions until it breaks. */
  framesLeft = Infinity
  isOpen = true
  isKnown = false
  readonly #peer: FakePeer
  readonly #listeners: Listeners = new Map()

  constructor(peer: FakePeer, url: string) {
    this.url = url
    this.#peer = peer
  }

  addEventListener(type: string, listener: (event: { data: unknown }) => void): void {
    this.#listeners.set(type, [...(this.#listeners.get(type) ?? []), listener])
  }

  /** From the client. */
  send(frame: string): void {
    if (!this.isOpen) throw new DOMException('not open', 'InvalidStateError')
    queueMicrotask(() => {
      if (this.#passes()) this.#peer.receive(this, frame)
    })
  }

  close(): void {
    this.cut()
  }

  /** To the client. */
  tell(...results: LiveResult[]): void {
    for (const result of results) {
      queueMicrotask(() => {
        if (this.#passes()) this.fire('message', JSON.stringify(result))
      })
    }
  }

  /** What was sent and not read is lost. */
  cut(): void {
    if (!this.isOpen) return
    this.isOpen = false
    queueMicrotask(() => this.fire('close'))
  }

  fire(type: string, data?: unknown): void {
    for (const listener of this.#listeners.get(type) ?? []) listener({ data })
  }

  #passes(): boolean {
    if (!this.isOpen) return false
    if (this.framesLeft-- > 0) return true
    this.cut()
    return false
  }
}

interface FakeQuery {
  rows: Map<string, { row: WireRow; count: number }>
  /** What came after `since`, for those who come back. */
  log: [tick: number, changes: WireChange[]][]
  since: number
}

export class FakePeer {
  readonly sockets: FakeSocket[] = []
  /** In the order of their arrival. */
  readonly requests: LiveRequest[] = []
  readonly plans: Map<string, unknown> = new Map()
  readonly relations: Map<string, Attribute> = new Map()
  readonly queries: Map<string, FakeQuery> = new Map()
  /** What the next requests of a kind are refused with. */
  readonly refusals: Map<RequestTag, ErrorCode[]> = new Map()
  /** Requests of these kinds stay without an answer. */
  readonly silent: Set<RequestTag> = new Set()
  /** As they came. */
  readonly frames: string[] = []
  tick = 10
  /** New connections fail. */
  isDown = false
  /** Frames after which the next connections break, in their order. */
  readonly cuts: number[] = []

  readonly WebSocket = ((peer: FakePeer) =>
    class extends FakeSocket {
      constructor(url: string) {
        super(peer, url)
        peer.sockets.push(this)
        this.framesLeft = peer.cuts.shift() ?? Infinity
        queueMicrotask(() => (peer.isDown ? this.cut() : this.fire('open')))
      }
    })(this)

  get open(): FakeSocket[] {
    return this.sockets.filter(({ isOpen }) => isOpen)
  }

  /** What the requests of a kind asked for so far. */
  asked(tag: RequestTag): LiveRequest['body'][] {
    return this.requests.filter((request) => request.tag === tag).map(({ body }) => body)
  }

  /** Rows that come or go, in a tick of their own. */
  change(name: string, ...changes: WireChange[]): void {
    const query = this.query(name)
    this.tick++
    for (const [row, diff] of changes) {
      const key = JSON.stringify(row)
      const count = (query.rows.get(key)?.count ?? 0) + diff
      if (count === 0) query.rows.delete(key)
      else query.rows.set(key, { row, count })
    }
    query.log.push([this.tick, changes])
    this.tell(name, { QueryDiff: [name, changes, this.tick] })
  }

  /** The log's time goes on without a change. */
  progress(name: string): void {
    this.tick++
    this.tell(name, { Progress: [name, this.tick] })
  }

  /** Who comes back gets everything anew. */
  forget(name: string): void {
    const query = this.query(name)
    query.log = []
    query.since = this.tick
  }

  /** Everything anew, at once. */
  reset(name: string, reason: string): void {
    this.tell(name, { Reset: [name, reason] }, this.snapshot(name))
  }

  /** Ends a query, as another client would. */
  drop(name: string): void {
    this.queries.delete(name)
    this.plans.delete(name)
    this.tell(name, { Reset: [name, 'the query was unregistered'] })
  }

  /** Tells no more of a query, to those who were told. */
  stop(name: string, code: ErrorCode): void {
    for (const socket of this.open) {
      const id = socket.interests.get(name)
      if (id !== undefined) socket.tell({ Error: [id, code, `the peer says ${code}`] })
      socket.interests.delete(name)
    }
  }

  query(name: string): FakeQuery {
    const query = this.queries.get(name) ?? { rows: new Map(), log: [], since: this.tick }
    this.queries.set(name, query)
    return query
  }

  snapshot(name: string): LiveResult {
    const rows = [...this.query(name).rows.values()]
    return { Snapshot: [name, rows.flatMap(({ row, count }) => Array.from({ length: count }, () => row)), this.tick] }
  }

  tell(name: string, ...results: LiveResult[]): void {
    for (const socket of this.open) if (socket.interests.has(name)) socket.tell(...results)
  }

  receive(socket: FakeSocket, frame: string): void {
    this.frames.push(frame)
    for (const request of parseLiveFrame(frame)) {
      if ('error' in request) socket.tell({ Error: [request.id, request.error.code, request.error.message] })
      else this.#answer(socket, request)
    }
  }

  #answer(socket: FakeSocket, request: LiveRequest): void {
    this.requests.push(request)
    const { id, tag } = request
    if (this.silent.has(tag)) return
    try {
      const refusal = this.refusals.get(tag)?.shift()
      if (refusal !== undefined) throw new CallplaneError(refusal, `the peer says ${refusal}`)
      if (!socket.isKnown && tag !== 'Auth') throw new CallplaneError('unauthorized', 'say who you are first')
      socket.tell(...this.#carryOut(socket, id, request))
    } catch (error) {
      if (!(error instanceof CallplaneError)) throw error
      socket.tell({ Error: [id, error.code, error.message] })
    }
  }

  #carryOut(socket: FakeSocket, id: RequestId, request: LiveRequest): LiveResult[] {
    switch (request.tag) {
      case 'Auth':
        if (request.body.key !== KEY) throw new CallplaneError('unauthorized')
        socket.isKnown = true
        break
      case 'Register':
        this.#define(this.plans, request.body.name, request.body.plan)
        this.query(request.body.name)
        break
      case 'Unregister':
        if (!this.queries.has(request.body.name)) throw new CallplaneError('not_found')
        this.drop(request.body.name)
        break
      case 'Interest':
        return [{ Ok: id }, ...this.#follow(socket, id, request.body)]
      case 'Uninterest':
        socket.interests.delete(request.body.name)
        break
      case 'CreateAttribute':
        this.#define(this.relations, request.body.name, request.body)
        break
      case 'Transact':
        this.#transact(request.body.changes)
        break
      case 'CloseInput':
        if (!this.relations.delete(request.body.name)) throw new CallplaneError('not_found')
        break
      case 'Status':
        return [
          {
            Status: [
              id,
              { peer: 'fake', tick: this.tick, lag: 0, clients: this.open.length, slowClients: 0, queries: [] },
            ],
          },
        ]
    }
    return [{ Ok: id }]
  }

  /** Only plans that are a relation and no more have rows of their own accord. */
  #transact(changes: { relation: string; row: unknown; diff?: number }[]): void {
    for (const { relation } of changes) if (!this.relations.has(relation)) throw new CallplaneError('not_found')
    for (const [name, plan] of this.plans) {
      const here = changes.filter(({ relation }) => JSON.stringify(plan) === JSON.stringify({ op: 'from', relation }))
      // The wire has parsed them, and rows are what a test sends.
      if (here.length > 0) this.change(name, ...here.map(({ row, diff = 1 }) => [row as WireRow, diff] as const))
    }
  }

  #define<T>(known: Map<string, T>, name: string, what: T): void {
    const other = known.get(name)
    if (other !== undefined && JSON.stringify(other) !== JSON.stringify(what)) throw new CallplaneError('conflict')
    known.set(name, what)
  }

  #follow(socket: FakeSocket, id: RequestId, { name, from }: { name: string; from?: number }): LiveResult[] {
    const query = this.queries.get(name)
    if (query === undefined) throw new CallplaneError('not_found', `no query "${name}"`)
    socket.interests.set(name, id)
    if (from === undefined) return [this.snapshot(name)]
    if (from < query.since) return [{ Reset: [name, 'what came since is no longer known'] }, this.snapshot(name)]
    return query.log
      .filter(([tick]) => tick > from)
      .map(([tick, changes]): LiveResult => ({ QueryDiff: [name, changes, tick] }))
  }
}

export const FAILING = from('jobs').where({ state: 'failed' }).groupBy('service').count()
export const a1: WireRow = { service: 'a', count: 1 }
export const a2: WireRow = { service: 'a', count: 2 }
export const b1: WireRow = { service: 'b', count: 1 }

export function setupLive(options: CallplaneOptions = {}) {
  const peer = new FakePeer()
  const { plane } = setup({ WebSocket: peer.WebSocket, ...options })
  return { peer, plane, live: plane.live }
}

/** A query with a row, and a loop that has seen it. */
export async function watching(options: { signal?: AbortSignal } = {}) {
  const { peer, plane, live } = setupLive()
  const failing = await live.register('failing', FAILING)
  peer.change('failing', [a1, 1])
  const loop = live.watch(failing, options)
  const first = await loop.next()
  expect(first.value).toEqual({ tick: peer.tick, rows: [a1], diffs: [[a1, 1]] })
  return { peer, plane, live, failing, loop }
}
