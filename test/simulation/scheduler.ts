// Virtual time: a heap of events, run one after the other. Between two of them all promise work is done, so that what
// runs next depends on nothing but the seed.
import { AsyncLocalStorage } from 'node:async_hooks'

/** A process of the simulated world: what it waits for dies with it, or is held while it is frozen. */
export class Process {
  readonly name: string
  isDead = false
  isFrozen = false
  /** Events that came while it was frozen. */
  readonly held: SimEvent[] = []

  constructor(name: string) {
    this.name = name
  }
}

export interface SimEvent {
  atMs: number
  /** Orders events of the same time. */
  seq: number
  /** Null: the world itself, which neither dies nor freezes. */
  owner: Process | null
  /** Null: it was cancelled. */
  run: (() => void) | null
}

const current = new AsyncLocalStorage<Process | null>()

/** Real time, taken before the globals are replaced. */
const nextTurn = setImmediate

export class Scheduler {
  nowMs = 0
  /** How many events have run. */
  ran = 0
  readonly #heap: SimEvent[] = []
  #seq = 0
  #hash = 0x811c9dc5

  /** Whose code runs now: timers belong to who sets them. */
  get process(): Process | null {
    return current.getStore() ?? null
  }

  /** Runs code as that of a process, with all that it awaits. */
  within<T>(process: Process | null, run: () => T): T {
    return current.run(process, run)
  }

  after(delayMs: number, owner: Process | null, run: () => void): SimEvent {
    const event: SimEvent = { atMs: this.nowMs + Math.max(0, delayMs), seq: this.#seq++, owner, run }
    push(this.#heap, event)
    return event
  }

  kill(process: Process): void {
    process.isDead = true
    process.held.length = 0
  }

  freeze(process: Process): void {
    process.isFrozen = true
  }

  thaw(process: Process): void {
    process.isFrozen = false
    for (const event of process.held.splice(0)) {
      event.atMs = this.nowMs
      event.seq = this.#seq++
      push(this.#heap, event)
    }
  }

  /** Takes what happened into the fingerprint of the run. */
  mark(text: string): void {
    let hash = this.#hash
    for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193)
    this.#hash = hash
  }

  get fingerprint(): string {
    return (this.#hash >>> 0).toString(16).padStart(8, '0')
  }

  /** Runs events until there is nothing left to wait for, or the next one is later than `untilMs`. */
  async run(isOver: () => boolean, untilMs: number): Promise<void> {
    await drain()
    while (!isOver()) {
      const event = pop(this.#heap)
      if (event === undefined) return
      if (event.run === null || event.owner?.isDead === true) continue
      if (event.atMs > untilMs) {
        push(this.#heap, event)
        this.nowMs = untilMs
        return
      }
      if (event.owner?.isFrozen === true) {
        event.owner.held.push(event)
        continue
      }
      this.nowMs = event.atMs
      this.ran++
      this.#hash = Math.imul(this.#hash ^ (event.seq + event.atMs * 31), 0x01000193)
      current.run(event.owner, event.run)
      await drain()
    }
  }
}

/** Microtasks run out before the event loop turns. */
function drain(): Promise<void> {
  return new Promise((resolve) => nextTurn(resolve))
}

function isBefore(a: SimEvent, b: SimEvent): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.seq < b.seq)
}

function push(heap: SimEvent[], event: SimEvent): void {
  let at = heap.push(event) - 1
  while (at > 0) {
    const up = (at - 1) >> 1
    const parent = heap[up]
    if (parent === undefined || !isBefore(event, parent)) break
    heap[at] = parent
    at = up
  }
  heap[at] = event
}

function pop(heap: SimEvent[]): SimEvent | undefined {
  const [first] = heap
  const last = heap.pop()
  if (first === undefined || last === undefined || heap.length === 0) return first
  let at = 0
  for (;;) {
    const left = heap[2 * at + 1]
    const right = heap[2 * at + 2]
    if (left === undefined) break
    const isRight = right !== undefined && isBefore(right, left)
    const child = isRight ? right : left
    if (!isBefore(child, last)) break
    heap[at] = child
    at = 2 * at + (isRight ? 2 : 1)
  }
  heap[at] = last
  return first
}
