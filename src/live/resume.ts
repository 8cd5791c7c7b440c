// What a client missed that comes back to a peer which does not remember it: told from the log.
//
//   log     ── from ── 8 ── 9 ── 10 ── 11 ──▶
//   tables                       └ read at 10; with 8, 9 and 10 undone they are those at `from`
//   query       └ begins there, apart from the one that runs, and steps to 10: what each tick changed
//   running                      └ remembers it, and what came after
import type { Sql } from '../db/sql.ts'
import type { Plan } from '../protocol/plan.ts'
import type { TickChanges } from './audience.ts'
import type { Sent } from './commands.ts'
import { hydrate } from './hydrate.ts'
import { Dataflow, sourcesOf, type RelationChange } from './kernel/dataflow.ts'
import { readLog, type Entry } from './log.ts'
import type { Registry } from './registry.ts'
import { registryAt } from './registry-at.ts'
import type { Past, Standing } from './standing.ts'
import { changesOfStep, undoStep } from './step-changes.ts'
import { hasWindow } from './window-time.ts'

/** Who missed more is better served by a snapshot. Bounds what one who comes back has a peer read, and hold meanwhile. */
const MAX_ENTRIES = 10_000
/** Entries between two breaths. */
const ENTRIES_A_TURN = 500

export interface ResumeOptions {
  sql: Sql
  namespace: string
  builtIn: ReadonlyMap<string, Plan>
  maxRows: number
  breathe: () => Promise<void>
  /** The log is wanted up to where the tables were read. */
  poke: () => void
}

interface Waiting extends PromiseWithResolvers<Past | null> {
  from: number
  registry: Registry
}

/**
 * Asks the log for one query at a time. When a peer dies, all of its clients come back at once: what those of one query missed is
 * read once, for the one that was away for longest.
 */
export class Resume {
  readonly #options: ResumeOptions
  readonly #waiting = new Map<Standing, Waiting[]>()
  #isBusy = false

  constructor(options: ResumeOptions) {
    this.#options = options
  }

  /** Null where neither the peer nor the log knows, or the query has stopped. The peer has come as far as `until` by then, or farther. */
  async past(standing: Standing, from: number, registry: Registry): Promise<Past | null> {
    if (standing.since(from) !== null) return { changes: [], until: from }
    if (standing.stopped !== null) return null
    const waiting = { from, registry, ...Promise.withResolvers<Past | null>() }
    this.#waiting.set(standing, [...(this.#waiting.get(standing) ?? []), waiting])
    if (!this.#isBusy) void this.#work()
    return waiting.promise
  }

  /** Never rejects. */
  async #work(): Promise<void> {
    this.#isBusy = true
    for (const [standing, waiting] of this.#waiting) {
      const first = waiting.reduce((a, b) => (b.from < a.from ? b : a))
      const others = waiting.filter((one) => one !== first)
      this.#waiting.delete(standing)
      try {
        const past = await readPast(standing, first, this.#options)
        first.resolve(past)
        if (past !== null) {
          standing.remember(first.from, past)
          for (const one of others) one.resolve(after(past, one.from))
        } else if (others.length > 0) {
          // It was away for too long, which says nothing of the others.
          this.#waiting.set(standing, [...others, ...(this.#waiting.get(standing) ?? [])])
        }
      } catch (error) {
        for (const one of waiting) one.reject(error)
      }
    }
    this.#isBusy = false
  }
}

function after({ changes, until }: Past, from: number): Past | null {
  return from > until ? null : { changes: changes.filter(({ tick }) => tick > from), until }
}

async function readPast(
  { asked: { name }, plan, ticks }: Standing,
  { from, registry: now }: Waiting,
  { sql, namespace, builtIn, maxRows, breathe, poke }: ResumeOptions,
): Promise<Past | null> {
  const early = await readLog(sql, namespace, { after: from, limit: MAX_ENTRIES })
  if (early.headTick < from || early.baseTick > from || early.entries.length > MAX_ENTRIES) return null

  const { registry, timeMs } = await registryAt(sql, namespace, { tick: from, builtIn })
  if (hasWindow(plan) && timeMs === null) return null
  // A relation that the plan reads may have been made since.
  const { relations } = now
  const sources = sourcesOf(plan, relations)
  const [own, inTables] = [true, false].map((isOwn) => sources.filter((one) => now.isOwn(one.relation) === isOwn))
  const view = { relations, namespace, nowMs: registry.nowMs }
  // Of a query in pieces, the whole may be more than this peer can hold.
  const { tick: until, rows, unstamped } = await hydrate(sql, inTables ?? [], view, { limit: maxRows + 1 })
  if ([...rows.values()].some((all) => all.length > maxRows)) return null

  const late = await readLog(sql, namespace, { after: early.entries.at(-1)?.tick ?? from, limit: MAX_ENTRIES })
  if (late.baseTick > from || late.entries.length > MAX_ENTRIES) return null
  const entries = [...early.entries, ...late.entries].filter(({ tick }) => tick <= until)
  const read = new Set(sources.map(({ relation }) => relation))
  if ([...entries, ...unstamped].some((entry) => hidesThePast(entry, { name, read }))) return null

  const flow = new Dataflow({ relations, maxRows, nowMs: registry.nowMs })
  for (const { text } of own ?? []) rows.set(text, [])
  const ownRows = [...new Set(own?.map(({ relation }) => relation))].flatMap((one) => registry.rowsOf(one))
  const steps = [...entries, ...unstamped].flatMap((entry) => ('command' in entry ? [] : undoStep(entry)))
  const query = flow.add(plan, rows, [...steps, ...ownRows])

  const changes: TickChanges[] = []
  let sinceBreath = 0
  for (const [tick, of] of Map.groupBy(entries, (entry) => entry.tick)) {
    flow.apply(of.flatMap((entry) => changesOf(entry, registry)))
    flow.advance(registry.nowMs)
    const changed = flow.flush().changes.get(query)
    if (query.stopped !== null) return null
    if (changed !== undefined) changes.push({ tick, changes: changed })
    sinceBreath += of.length
    if (sinceBreath < ENTRIES_A_TURN) continue
    sinceBreath = 0
    await breathe()
  }
  if (ticks.now < until) poke()
  await ticks.until(until)
  return { changes, until }
}

/** Whether the state before the entry cannot be told from what came after: its row of a table is gone, or the name was another's. */
function hidesThePast(entry: Entry, { name, read }: { name: string; read: ReadonlySet<string> }): boolean {
  if (!('command' in entry)) return false
  const { command } = entry.command as unknown as Sent // as appended by a peer
  if ('Put' in command) return read.has(command.Put.relation)
  if ('Drop' in command) return read.has(command.Drop.relation)
  return 'Unregister' in command && command.Unregister.name === name
}

function changesOf(entry: Entry, registry: Registry): RelationChange[] {
  if ('command' in entry) {
    const { command } = entry.command as unknown as Sent // as appended by a peer
    return registry.apply(command, entry.atMs).changes
  }
  return changesOfStep(entry)
}
