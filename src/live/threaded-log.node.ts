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

/** Reads logs in a thread of its own, over connections of its own. A thread that dies is begun anew. */
export function threadedLog(connectionString: string): ThreadedLog {
  const followed = new Map<number, Followed>()
  let count = 0
  let isOver = false
  let thread = begin()

  function begin(): Worker {
    const worker = new Worker(new URL('./reader-thread.node.ts', import.meta.url), { workerData: { connectionString } })
    worker.unref()
    worker.on('message', receive)
    worker.on('error', (error) => {
      for (const { events } of followed.values()) events.failed(error)
    })
    worker.on('exit', () => {
      if (isOver || worker !== thread) return
      thread = begin()
      for (const [n, { namespace, isClosing, closed }] of followed) {
        if (isClosing) closed.resolve()
        else tell({ open: namespace, n })
      }
    })
    return worker
  }

  function tell(message: ToThread): void {
    thread.postMessage(message) // oxlint-disable-line unicorn/require-post-message-target-origin -- a worker thread has none
  }

  function receive(message: FromThread): void {
    const n = 'closed' in message ? message.closed : message.n
    const one = followed.get(n)
    if (one === undefined) return
    if ('closed' in message) {
      followed.delete(n)
      return one.closed.resolve()
    }
    if ('failed' in message) return one.events.failed(message.failed)
    one.taking = one.taking.then(() => take(one, message)).then(() => tell({ taken: n }))
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
      tell({ open: namespace, n })
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
          tell({ close: n })
          await one.closed.promise
        },
      }
    },
    async close() {
      isOver = true
      await thread.terminate()
    },
  }
}
