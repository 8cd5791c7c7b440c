// The thread that reads the log: it goes on at full speed while the peer's own thread is busy with its clients.
import { parentPort, workerData } from 'node:worker_threads'
import { pgSql } from '../db/pg.ts'
import type { Entry } from './log.ts'
import { readForEver, type LogReader } from './reader.ts'
import type { Head } from './stamp.ts'

/** What the peer's thread says. `n` is the log that it means. */
export type ToThread =
  | { open: string; n: number }
  | { poke: number }
  | { close: number }
  /** What was told last has been taken in. */
  | { taken: number }

export type FromThread =
  | { begun: Head; n: number }
  | { read: readonly Entry[]; n: number }
  | { failed: string; n: number }
  | { closed: number }

/** What is told before the first of it has been taken in. Bounds what a busy peer leaves in memory. */
const MAX_AHEAD = 3

interface Open {
  reader: LogReader
  ahead: number
  resume: (() => void) | null
}

function serve(port: NonNullable<typeof parentPort>, connectionString: string): void {
  const { sql } = pgSql({ connectionString, max: 4 })
  const open = new Map<number, Open>()

  function begin(n: number, namespace: string): void {
    const tell = (message: FromThread): void => port.postMessage(message)
    async function told(message: FromThread): Promise<void> {
      const one = open.get(n)
      if (one === undefined) return
      tell(message)
      if (++one.ahead < MAX_AHEAD) return
      const { promise, resolve } = Promise.withResolvers<void>()
      one.resume = resolve
      await promise
    }
    const reader = readForEver(sql, namespace, {
      begun: (head) => told({ begun: head, n }),
      read: (entries) => told({ read: entries, n }),
      failed: (error) => tell({ failed: String(error), n }),
    })
    open.set(n, { reader, ahead: 0, resume: null })
  }

  port.on('message', (message: ToThread) => {
    if ('open' in message) return begin(message.n, message.open)
    const n = 'poke' in message ? message.poke : 'close' in message ? message.close : message.taken
    const one = open.get(n)
    if (one === undefined) return
    if ('poke' in message) return one.reader.poke()
    if ('taken' in message) one.ahead--
    else open.delete(n)
    one.resume?.()
    one.resume = null
    if ('close' in message) void one.reader.close().then(() => port.postMessage({ closed: n } satisfies FromThread))
  })
}

if (parentPort !== null) serve(parentPort, (workerData as { connectionString: string }).connectionString) // as threadedLog gives it
