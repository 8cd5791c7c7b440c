// A client that speaks the wire of live queries by hand, over whatever carries frames.
import type { LiveResult, RequestId, WireRow } from '../../src/protocol/live.ts'

export interface Wire {
  send(frame: string): void
  close(): void
}

type Body = Record<string, unknown>

/** Sends requests, keeps what comes, and adds up what it is told of each query. */
export class WireClient {
  readonly received: LiveResult[] = []
  /** By query: each row as text, and how often it is there by what was told. */
  readonly results = new Map<string, { rows: Map<string, number>; tick: number }>()
  isClosed = false
  /** Tells the peer that the network has taken what was queued. */
  drained: () => void = () => {}
  #id = 0
  #wire: Wire | null = null
  readonly #waiting: { fits: (result: LiveResult) => boolean; resolve: (result: LiveResult) => void }[] = []

  opened(wire: Wire): this {
    this.#wire = wire
    return this
  }

  get(frame: string): void {
    const result = JSON.parse(frame) as LiveResult // from our own peer
    this.received.push(result)
    this.#addUp(result)
    for (const waiter of this.#waiting.splice(0)) {
      if (waiter.fits(result)) waiter.resolve(result)
      else this.#waiting.push(waiter)
    }
  }

  closed(): void {
    this.isClosed = true
  }

  close(): void {
    this.#wire?.close()
  }

  raw(frame: string): void {
    this.#wire?.send(frame)
  }

  /** Sends one request; what answers it: an Ok or an Error of its id. */
  async ask(tag: string, body: Body = {}): Promise<LiveResult> {
    const [answer] = await this.askAll([[tag, body]])
    if (answer === undefined) throw new Error('no answer')
    return answer
  }

  /** Many requests in one frame. */
  askAll(requests: readonly (readonly [tag: string, body: Body])[]): Promise<LiveResult[]> {
    const sent = requests.map(([tag, body]) => ({ id: ++this.#id, [tag]: body }))
    const answers = sent.map(({ id }) => this.next((result) => idOf(result) === id))
    this.raw(JSON.stringify(sent))
    return Promise.all(answers)
  }

  /** The next that fits, from now on. */
  next(fits: (result: LiveResult) => boolean): Promise<LiveResult> {
    const { promise, resolve } = Promise.withResolvers<LiveResult>()
    this.#waiting.push({ fits, resolve })
    return promise
  }

  of(name: string): LiveResult[] {
    return this.received.filter((result) => nameOf(result) === name)
  }

  /** The rows of a query as it was told of them, in the order of their texts. */
  rows(name: string): WireRow[] {
    const rows = [...(this.results.get(name)?.rows ?? [])].toSorted(([a], [b]) => (a < b ? -1 : 1))
    return rows.flatMap(([text, count]) => Array.from({ length: count }, () => JSON.parse(text) as WireRow))
  }

  #addUp(result: LiveResult): void {
    if ('Snapshot' in result) {
      const [name, rows, tick] = result.Snapshot
      const counts = new Map<string, number>()
      for (const row of rows) counts.set(JSON.stringify(row), (counts.get(JSON.stringify(row)) ?? 0) + 1)
      this.results.set(name, { rows: counts, tick })
    } else if ('QueryDiff' in result) {
      const [name, changes, tick] = result.QueryDiff
      const known = this.results.get(name)
      if (known === undefined) throw new Error(`a diff of ${name} came before its snapshot`)
      if (tick <= known.tick) throw new Error(`a diff of ${name} at tick ${tick} came after ${known.tick}`)
      known.tick = tick
      for (const [row, diff] of changes) {
        const key = JSON.stringify(row)
        const count = (known.rows.get(key) ?? 0) + diff
        if (count < 0) throw new Error(`${name} has ${count} of ${key}`)
        if (count === 0) known.rows.delete(key)
        else known.rows.set(key, count)
      }
    }
  }
}

function idOf(result: LiveResult): RequestId | null {
  if ('Ok' in result) return result.Ok
  if ('Error' in result) return result.Error[0]
  return 'Status' in result ? result.Status[0] : null
}

function nameOf(result: LiveResult): string | null {
  if ('Snapshot' in result) return result.Snapshot[0]
  if ('QueryDiff' in result) return result.QueryDiff[0]
  if ('Progress' in result) return result.Progress[0]
  return 'Reset' in result ? result.Reset[0] : null
}
