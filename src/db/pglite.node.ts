// The embedded database: Postgres in WebAssembly (PGlite), in a folder or in memory, inside this process.
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { messages, PGlite, type QueryOptions } from '@electric-sql/pglite'
import { lockFolder, type FolderLock } from './folder-lock.node.ts'
import { CLOSED, decodeRows, encodeParam, keepText, SqlError, type Row, type Sql, type SqlParam } from './sql.ts'

export interface EmbeddedDatabase {
  sql: Sql
  /** The engine itself, for the SQL-over-HTTP endpoint. */
  engine: PGlite
  close: () => Promise<void>
}

/**
 * Opens the database in `dir`, which it creates; `null` keeps it in memory.
 *
 * A process that opens a folder in use gets a FolderInUseError that names the first (with its `url`, when it gave one):
 * PGlite itself would open it and lose rows without an error. Statements run one at a time, in the order they came.
 * What is committed survives the death of the process. It may not survive the machine's: PGlite never calls fsync.
 */
export async function openEmbedded(
  dir: string | null,
  { url }: { url?: string | undefined } = {},
): Promise<EmbeddedDatabase> {
  if (dir === null) return embedded(await PGlite.create())
  const lock = lockFolder(dir, url)
  try {
    return embedded(await openLocked(lock), lock)
  } catch (error) {
    lock.release()
    throw error
  }
}

async function openLocked({ path }: FolderLock): Promise<PGlite> {
  // A first start that was cut short leaves half a database, which never opens again. The mark says that nobody has used it yet.
  const mark = `${path}.unfinished`
  if (existsSync(mark)) for (const entry of readdirSync(path)) rmSync(join(path, entry), { recursive: true })
  const entries = readdirSync(path)
  if (entries.length > 0 && !entries.includes('PG_VERSION')) {
    throw new Error(`${path} holds something else than a database; name an empty or a new folder`)
  }
  if (entries.length === 0) writeFileSync(mark, '')
  const engine = await PGlite.create(path, { relaxedDurability: false })
  rmSync(mark, { force: true })
  return engine
}

/** A database that is open already. */
export function embedded(engine: PGlite, lock?: FolderLock): EmbeddedDatabase {
  const raw = rawQueries(engine)
  const run = async <R extends Row>(text: string, params: readonly SqlParam[] = []): Promise<R[]> => {
    const encoded = params.map(encodeParam)
    if (!engine.ready) throw new SqlError('the embedded database is closed', CLOSED)
    const { fields, rows } = await engine.query<(string | null)[]>(text, encoded, raw).catch(fail)
    return decodeRows<R>(fields, rows)
  }
  const close = async (): Promise<void> => {
    await engine.close()
    lock?.release()
  }
  let closed: Promise<void> | undefined
  return { sql: run, engine, close: () => (closed ??= close()) }
}

/** Options under which PGlite takes and gives values as Postgres's text: it has its own idea of every type that it knows. */
export function rawQueries(engine: PGlite): QueryOptions {
  const parsers = Object.fromEntries(Object.keys(engine.parsers).map((oid) => [oid, keepText]))
  const serializers = Object.fromEntries(Object.keys(engine.serializers).map((oid) => [oid, keepText]))
  return { rowMode: 'array', parsers, serializers }
}

function fail(cause: unknown): never {
  if (!(cause instanceof messages.DatabaseError)) throw new SqlError(String(cause), null, { cause })
  throw new SqlError(cause.message, cause.code ?? null, { constraint: cause.constraint, cause })
}
