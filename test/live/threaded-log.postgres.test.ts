// The thread that reads the log: there while somebody watches, and at work while the peer's own thread is not.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { enqueueJobs } from '../../src/jobs/enqueue.ts'
import type { Entry } from '../../src/live/log.ts'
import { threadedLog, type ThreadedLog } from '../../src/live/threaded-log.node.ts'
import { migratedDatabase } from '../support/fresh-database.ts'
import { aCall } from '../support/wire.ts'

const STAMPED_MEANWHILE = fileURLToPath(new URL('../support/stamped-meanwhile.ts', import.meta.url))
const { url, database } = await migratedDatabase({ max: 1 })
function newLog(): ThreadedLog {
  const log = threadedLog(url)
  onTestFinished(() => log.close())
  return log
}

let namespaces = 0
/** Follows the log of a namespace of its own, from when it has begun. */
async function follow(log: ThreadedLog) {
  const namespace = `followed_${namespaces++}`
  const entries: Entry[] = []
  const begun = Promise.withResolvers<void>()
  const reader = log.openLog(namespace, {
    begun: () => begun.resolve(),
    read: (read) => void entries.push(...read),
    failed: (error) => begun.reject(error),
  })
  await begun.promise
  const enqueue = async (count: number): Promise<void> => {
    const calls = await Promise.all(Array.from({ length: count }, () => aCall()))
    await enqueueJobs(database.sql, namespace, calls, { retentionMs: 86_400_000 })
  }
  return { namespace, entries, reader, enqueue }
}

/** Connections other than the one that asks. */
async function connections(): Promise<number> {
  const [row] = await database.sql<{ n: number }>(
    'select count(*) as n from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()',
  )
  return row?.n ?? NaN
}

test('there is a thread only while a log is followed', async () => {
  const log = newLog()
  expect(await connections()).toBe(0)
  const [first, second] = [await follow(log), await follow(log)]
  await first.enqueue(2)
  await expect.poll(() => first.entries).toHaveLength(2)
  await first.reader.close()
  await second.enqueue(1)
  await expect.poll(() => second.entries).toHaveLength(1)
  expect(await connections()).toBeGreaterThan(0)
  await second.reader.close()
  await expect.poll(connections).toBe(0)
  const third = await follow(log)
  await third.enqueue(3)
  await expect.poll(() => third.entries).toHaveLength(3)
})

test('closing it ends the thread, also under a log that is being closed', async () => {
  const log = newLog()
  const { reader } = await follow(log)
  await Promise.all([reader.close(), log.close()])
  reader.poke()
  await expect.poll(connections).toBe(0)
})

test('the log is read on while the thread of the peer is blocked', async () => {
  const { namespace, entries, enqueue } = await follow(newLog())
  await enqueue(1)
  await expect.poll(() => entries).toHaveLength(1)
  // It waits for the tick while this thread waits for it.
  const meanwhile = spawnSync(process.execPath, [STAMPED_MEANWHILE, url, namespace], { encoding: 'utf8' })
  expect(meanwhile.stdout).toBe('stamped\n')
}, 60_000)
