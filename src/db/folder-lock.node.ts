// One process per folder: a lock that the kernel holds for us and lets go when the process dies, however it dies.
import { mkdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { DatabaseSync } from 'node:sqlite'

/** Who holds a folder: written beside it for people and for the error message; the lock itself is elsewhere. */
interface Holder {
  pid: number
  host: string
  since: string
  url?: string
}

export interface FolderLock {
  /** The folder, without symbolic links. */
  path: string
  release: () => void
}

/** Another process has the folder open. */
class FolderInUseError extends Error {
  override readonly name = 'FolderInUseError'
}

// What nobody refers to is collected, and SQLite lets go of a collected connection's lock without a word.
const held = new Set<DatabaseSync>()

/**
 * Locks a folder, which it creates, for this process, or throws {@link FolderInUseError} at once.
 *
 * Node has no file locks of its own, but SQLite has them on every system: a transaction kept open on `<folder>.lock` is
 * one. A file with a pid instead would need a rule for taking it over from a dead process, and every such rule loses
 * somewhere: to a pid used again, to two that take over at once, to a holder in another container.
 */
export function lockFolder(dir: string, url?: string): FolderLock {
  mkdirSync(dir, { recursive: true })
  // Two names of one folder must meet in one lock.
  const path = realpathSync(dir)
  const lock = acquire(`${path}.lock`)
  if (!lock) throw new FolderInUseError(describe(path))
  held.add(lock)
  const holder: Holder = {
    pid: process.pid,
    host: hostname(),
    since: new Date().toISOString(),
    ...(url ? { url } : {}),
  }
  writeFileSync(`${path}.holder`, JSON.stringify(holder))
  return {
    path,
    release: () => {
      rmSync(`${path}.holder`, { force: true })
      // The .lock file stays: who deletes it while another opens it leaves two of them with a lock each.
      lock.close()
      held.delete(lock)
    },
  }
}

const SQLITE_BUSY = 5

function acquire(file: string): DatabaseSync | null {
  const lock = new DatabaseSync(file, { timeout: 0 })
  try {
    // The journal in memory: a transaction that writes nothing needs none on disk.
    lock.exec('pragma journal_mode = memory; begin exclusive')
    return lock
  } catch (error) {
    lock.close()
    if (error instanceof Error && 'errcode' in error && error.errcode === SQLITE_BUSY) return null
    throw error
  }
}

function describe(path: string): string {
  const holder = findHolder(path)
  if (!holder) return `${path} is open in another process; stop it first`
  const where = holder.host === hostname() ? `process ${holder.pid}` : `process ${holder.pid} on ${holder.host}`
  const address = holder.url ? `, serving ${holder.url}` : ''
  return `${path} is open in ${where} since ${holder.since}${address}; stop it first, or connect to it`
}

// The holder writes its name just after it has the lock: for that moment the file is missing or names a dead one.
function findHolder(path: string): Holder | null {
  for (let tries = 0; tries < 20; tries++) {
    const holder = readHolder(path)
    if (holder && (holder.host !== hostname() || isAlive(holder.pid))) return holder
    pause(10)
  }
  return null
}

function readHolder(path: string): Holder | null {
  try {
    return JSON.parse(readFileSync(`${path}.holder`, 'utf8'))
  } catch {
    return null
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    // EPERM: it lives, and belongs to somebody else.
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}

function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}
