// The peer's side of the thread that reads the log.
import { Worker } from 'node:worker_threads'
import type { FromThread, ToThread } from './reader-thread.node.ts'
import type { LogReader, ReaderEvents } from './reader.ts'

export interface ThreadedLog {
  openLog: (namespace: string, events: ReaderEvents) => LogReader
  close(): Promise<void>
}

interface Followed {
  namespace: string
  events: ReaderEvents
  /** What came is taken in one after the other. */
  taking: Promise<void>
  isClosing: boolean
  isPoked: boolean
  closed: PromiseWithResolvers<void>
}

const AGAIN_MS = 1_000

/** Reads logs in a thread of its own, over connections of its own, while there are any. A thread that dies is begun anew. */
export function threadedLog(connectionString: string): ThreadedLog {
  const followed = new Map<number, Followed>()
  let count = 0
  let thread: Worker | null = null

  /** A thread that follows all of them. */
  function begin(): void {
    const worker = new Worker(new URL('./reader-thread.node.ts', import.meta.url), { workerData: { connectionString } })
    thread = worker
    worker.unref()
    worker.on('message', receive)
    worker.on('error', (error: unknown) => {
      for (const { events } of followed.values()) events.failed(error)
    })
    worker.on('exit', () => {
      if (worker !== thread) return
      thread = null
      for (const [n, { isClosing, closed }] of followed) {
        if (!isClosing) continue
        followed.delete(n)
        closed.resolve()
      }
      const again = setTimeout(() => {
        if (thread === null && followed.size > 0) begin()
      }, AGAIN_MS)
      again.unref()
    })
    for (const [n, { namespace }] of followed) tell({ open: namespace, n })
  }

  function tell(message: ToThread): void {
    thread?.postMessage(message) // oxlint-disable-line unicorn/require-post-message-target-origin -- a worker thread has none
  }

  function receive(message: FromThread): void {
    const n = 'closed' in message ? message.closed : message.n
    const one = followed.get(n)
    if (one === undefined) return
    if ('closed' in message) {
      followed.delete(n)
      one.closed.resolve()
      return followed.size === 0 ? void end() : undefined
    }
    if ('failed' in message) return one.events.failed(message.failed)
    one.taking = one.taking.then(() => take(one, message)).then(() => tell({ taken: n }))
  }

  /** Whoever watches next begins another. */
  async function end(): Promise<void> {
    const worker = thread
    thread = null
    for (const { closed } of followed.values()) closed.resolve()
    followed.clear()
    await worker?.terminate()
  }

  /** Never rejects: what the peer could not take in, since the database did not answer, it is told again. */
  async function take(one: Followed, message: Extract<FromThread, { begun: unknown } | { read: unknown }>) {
    while (!one.isClosing) {
      try {
        return await ('begun' in message ? one.events.begun(message.begun) : one.events.read(message.read))
      } catch (error) {
        one.events.failed(error)
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS))
      }
    }
  }

  return {
    openLog(namespace, events) {
      const n = ++count
      const one: Followed = {
        namespace,
        events,
        taking: Promise.resolve(),
        isClosing: false,
        isPoked: false,
        closed: Promise.withResolvers(),
      }
      followed.set(n, one)
      if (thread === null) begin()
      else tell({ open: namespace, n })
      return {
        poke() {
          // Many writes of one turn are one poke.
          if (one.isPoked) return
          one.isPoked = true
          setImmediate(() => {
            one.isPoked = false
            tell({ poke: n })
          })
        },
        async close() {
          one.isClosing = true
          if (thread === null) followed.delete(n)
          else tell({ close: n })
          if (followed.has(n)) await one.closed.promise
        },
      }
    },
    close: end,
  }
}
