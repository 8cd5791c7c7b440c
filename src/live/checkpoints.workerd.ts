// Where a peer on Cloudflare keeps its checkpoints: on the disk of its object, one for each namespace, and when they are made.
//
//   changes  ──┬─┬───┬──────────── quiet ──▶ kept, before the object can fall asleep
//              └─┴─┴─┴─┴─┴─┴─┴─┴─┴─ busy ──▶ kept now and then, for who restarts it
import type { DurableObjectStorage, SqlStorageValue } from '@cloudflare/workers-types'
import { CHECKPOINT_FORMAT, checkpointOf, sizeOf } from './checkpoint.ts'
import type { RoomState } from './room-options.ts'

/** So long after a change a room keeps its object awake anyway, and an object that is awake for it costs more than the row. */
const QUIET_MS = 1_000
/** A busy object does not fall asleep. What is read from the log again where it is restarted, by a deploy, is bounded by this. */
const EVERY_MS = 30_000
/** Of a namespace. It is made and read at one go, in some 50 ms: more takes as long as asking the database does. */
const MAX_BYTES = 4_000_000
/** Some hundred bytes each. More are not even written down to be measured. */
const MAX_ROWS = 50_000
/** A row of the disk holds 2 MB. */
const MAX_PART_BYTES = 1_900_000
/** One that no life has asked for since, because its clients went elsewhere. */
const FORGOTTEN_MS = 24 * 3_600_000

type Part = { version: string; parts: number; format: number; checksum: number; bytes: ArrayBuffer }

export interface CheckpointsOptions {
  storage: DurableObjectStorage
  /** In which the peer has clients. */
  namespaces: () => Iterable<string>
  /** What the peer has made of a log. */
  stateOf: (namespace: string) => RoomState | null
  log: (event: { level: 'warn'; event: string; detail: string }) => void
}

export class Checkpoints {
  readonly #options: CheckpointsOptions
  /** Of what is on the disk, by namespace: its tick, and the names of its queries. */
  readonly #versions = new Map<string, string>()
  /** Rows that were too many bytes, by namespace: as many are not tried again. */
  readonly #tooMany = new Map<string, number>()
  #changedAtMs = 0
  #owedSinceMs: number | null = null
  #isWaiting = false
  #hasTable = false

  constructor(options: CheckpointsOptions) {
    this.#options = options
  }

  /** Something may have changed. */
  soon(): void {
    this.#changedAtMs = Date.now()
    this.#owedSinceMs ??= this.#changedAtMs
    if (!this.#isWaiting) this.#wait(QUIET_MS)
  }

  /** What was kept of a namespace; null: nothing, or in another format. Throws where it is damaged. */
  read(namespace: string): string | null {
    this.#exec('delete from checkpoints where at_ms < ? and namespace <> ?', Date.now() - FORGOTTEN_MS, namespace)
    const parts = this.#exec<Part>(
      'select version, parts, format, checksum, bytes from checkpoints where namespace = ? order by part',
      namespace,
    )
    const [first] = parts
    if (first?.format !== CHECKPOINT_FORMAT) return null
    const bytes = joined(parts)
    if (parts.length !== first.parts || checksumOf(bytes) !== first.checksum) throw new Error('it is damaged')
    this.#versions.set(namespace, first.version)
    return new TextDecoder().decode(bytes)
  }

  /** Nobody is there any more who would go on from it. */
  forget(namespace: string): void {
    this.#versions.delete(namespace)
    this.#exec('delete from checkpoints where namespace = ?', namespace)
  }

  #wait(ms: number): void {
    this.#isWaiting = true
    setTimeout(() => {
      this.#isWaiting = false
      this.#turn()
    }, ms)
  }

  #turn(): void {
    const nowMs = Date.now()
    const atMs = Math.min(this.#changedAtMs + QUIET_MS, (this.#owedSinceMs ?? nowMs) + EVERY_MS)
    if (atMs > nowMs) return this.#wait(atMs - nowMs)
    this.#owedSinceMs = null
    const { namespaces, stateOf, log } = this.#options
    for (const namespace of namespaces()) {
      const state = stateOf(namespace)
      try {
        if (state !== null) this.#keep(namespace, state)
      } catch (error) {
        log({ level: 'warn', event: 'checkpoint_unkept', detail: String(error) })
      }
    }
  }

  /** Where there is too much of it, what was kept before goes too: it would be ever further behind. */
  #keep(namespace: string, state: RoomState): void {
    const names = [...state.watched.keys()]
    const [tick, ...before] = JSON.parse(this.#versions.get(namespace) ?? '[]') as [number?, ...string[]] // as below
    // Who has left is no reason, nor who has yet to come in a life that has just begun.
    const kept = new Set(before)
    if (tick === state.tick && names.every((name) => kept.has(name))) return
    const version = JSON.stringify([state.tick, ...names])
    const rows = sizeOf(state)
    if (rows > MAX_ROWS || rows >= (this.#tooMany.get(namespace) ?? Infinity)) return this.forget(namespace)
    const text = checkpointOf(state)
    if (text === null) return
    const bytes = new TextEncoder().encode(text)
    if (bytes.length > MAX_BYTES) {
      this.#tooMany.set(namespace, rows)
      return this.forget(namespace)
    }
    this.#write(namespace, version, bytes)
    this.#tooMany.delete(namespace)
    this.#versions.set(namespace, version)
  }

  /** All of it, or nothing. */
  #write(namespace: string, version: string, bytes: Uint8Array): void {
    const parts = Math.ceil(bytes.length / MAX_PART_BYTES)
    const all = [version, parts, CHECKPOINT_FORMAT, checksumOf(bytes), Date.now()] as const
    this.#options.storage.transactionSync(() => {
      for (let part = 0; part < parts; part++) {
        const piece = bytes.slice(part * MAX_PART_BYTES, (part + 1) * MAX_PART_BYTES)
        this.#exec(
          `insert or replace into checkpoints (namespace, part, version, parts, format, checksum, at_ms, bytes)
          values (?, ?, ?, ?, ?, ?, ?, ?)`,
          namespace,
          part,
          ...all,
          piece.buffer,
        )
      }
      this.#exec('delete from checkpoints where namespace = ? and part >= ?', namespace, parts)
    })
  }

  /** Without an index beside the rows, whose entries would be billed as rows too. */
  #exec<R extends Record<string, SqlStorageValue>>(text: string, ...params: SqlStorageValue[]): R[] {
    const { sql } = this.#options.storage
    if (!this.#hasTable) {
      sql.exec(`create table if not exists checkpoints (namespace text not null, part integer not null,
        version text not null, parts integer not null, format integer not null, checksum integer not null,
        at_ms integer not null, bytes blob not null, primary key (namespace, part)) without rowid`)
      this.#hasTable = true
    }
    return sql.exec<R>(text, ...params).toArray()
  }
}

function joined(parts: readonly Part[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, { bytes }) => sum + bytes.byteLength, 0))
  let at = 0
  for (const { bytes } of parts) {
    all.set(new Uint8Array(bytes), at)
    at += bytes.byteLength
  }
  return all
}

/** FNV-1a: against what a disk does, not against anybody. */
function checksumOf(bytes: Uint8Array): number {
  let sum = 0x811c9dc5
  for (const byte of bytes) sum = Math.imul(sum ^ byte, 0x01000193)
  return sum >>> 0
}
