// What a peer has made of a log, as a text: with it, its next life goes on from there, and asks the database for nothing.
//
//   log          ── 5 ── 6 ── 7 ── 8 ── 9 ──▶
//   checkpoint             └ all of tick 6: the registry, and the state of each query that is watched
//   next life              └ begins here, and follows what comes after 6
//
// What cannot be read, or is of another format, is passed over: then the peer begins by the database, as if there were none.
import { planText } from '../protocol/plan.ts'
import type { Command } from './commands.ts'
import type { Query } from './kernel/dataflow.ts'
import type { State } from './kernel/operator.ts'
import { Registry } from './registry.ts'
import { commandsOf } from './registry-commands.ts'
import type { RoomOptions, RoomState } from './room-options.ts'
import { roomOf } from './room-state.ts'
import { hasWindow, KEPT_MS } from './window-time.ts'

/** Raised with every change of what is kept, and of what any operator dumps: another format is passed over. */
export const CHECKPOINT_FORMAT = 1

interface Kept {
  tick: number
  /** When it was made, by the clock of who made it. */
  atMs: number
  reachedMs: number
  commands: Command[]
  queries: { names: string[]; plan: string; state: State }[]
}

/** A room as it was. */
export interface Checkpoint extends RoomState {
  /**
   * Queries that cannot go on where the log has come further meanwhile. The log forgets times after a minute: a window that
   * is brought forward without them passes by what its clients were told.
   */
  doubtful: readonly string[]
}

/** Null where there is nothing to keep yet. A query that has stopped is not kept: who asks for it again hears why. */
export function checkpointOf({ tick, registry, flow, watched }: RoomState): string | null {
  if (tick === 0) return null
  const running = [...watched].filter(([, query]) => query.stopped === null)
  const byQuery = Map.groupBy(running, ([, query]) => query)
  const queries = Array.from(byQuery, ([query, of]) => {
    return { names: of.map(([name]) => name), plan: query.text, state: flow.dump(query) }
  })
  const { reachedMs } = registry.parts
  return JSON.stringify({ tick, atMs: Date.now(), reachedMs, commands: commandsOf(registry), queries } satisfies Kept)
}

/** Rows that a checkpoint of it has, or more. */
export function sizeOf({ registry, flow, watched }: RoomState): number {
  const running = new Set([...watched.values()].filter(({ stopped }) => stopped === null))
  return [...running].reduce((sum, query) => sum + flow.size(query), registry.size)
}

type LoadOptions = Pick<RoomOptions, 'checkpoint' | 'builtIn' | 'maxRows' | 'log'>

/** Null where there is none, or it cannot be read. */
export function loadCheckpoint({ checkpoint, log, ...options }: LoadOptions): Checkpoint | null {
  try {
    const text = checkpoint?.() ?? null
    return text === null ? null : load(text, options)
  } catch (error) {
    log({ level: 'warn', event: 'checkpoint_unread', detail: String(error) })
    return null
  }
}

function load(text: string, options: Pick<RoomOptions, 'builtIn' | 'maxRows'>): Checkpoint {
  const { tick, atMs, reachedMs, commands, queries } = JSON.parse(text) as Kept // as above, in the same format
  const registry = new Registry(options.builtIn)
  registry.reach(reachedMs)
  for (const command of commands) {
    const { error } = registry.apply(command, reachedMs)
    if (error !== null) throw error
  }
  const { flow } = roomOf(registry, tick, options)
  const isOld = Math.abs(Date.now() - atMs) > KEPT_MS / 2
  const [watched, doubtful] = [new Map<string, Query>(), new Array<string>()]
  for (const { names, plan: kept, state } of queries) {
    for (const name of names) {
      const plan = registry.registered(name)?.plan
      // One that is built in may be another in a newer build.
      if (plan === undefined || planText(plan) !== kept) continue
      watched.set(name, flow.load(plan, state))
      if (isOld && hasWindow(plan)) doubtful.push(name)
    }
  }
  return { tick, registry, flow, watched, doubtful }
}
