// The commands of long ago, as fewer that make the same: else who begins would read all that clients have ever written.
//
//   log   ──┬── 3, 5, 8, … 7,214 ──┬── the last hour ──▶
//           └ 9,000 commands       │
//                12 that make the same, at tick 7,214
//
// Who has come no further than that tick begins anew, as with other events that are forgotten.
import type { Sql } from '../db/sql.ts'
import { findCommandsToCondense, forgetReplaced, readSent, replaceCommands, type Command } from './commands.ts'
import { Registry } from './registry.ts'
import { commandsOf } from './registry-commands.ts'

/** As long as the other events of what is gone: until then, who was away is told what it missed. */
const KEPT_MS = 3_600_000
/** Fewer are read in some ten milliseconds. */
const LEAST = 2_000
/** What is not halved is not worth its writing. */
const GAIN = 2
/** Commands between two breaths. */
const COMMANDS_A_TURN = 1_000
/** A command is a row of the log. */
const ROWS_A_COMMAND = 1_000

/** After so many commands, and no more often than that, it looks whether some are old enough. */
const LOOK_AFTER = 5_000
const LOOK_EVERY_MS = 600_000

/** Condenses the commands of a namespace as they come. */
export class Condenser {
  readonly #sql: Sql
  readonly #namespace: string
  readonly #options: CondenseOptions
  #looked = { atMs: -Infinity, applied: 0 }

  constructor(sql: Sql, namespace: string, options: CondenseOptions = {}) {
    this.#sql = sql
    this.#namespace = namespace
    this.#options = options
  }

  /** So many have made the registry; fewer than before where it is another. */
  async turn(applied: number): Promise<void> {
    const [nowMs, { atMs, applied: before }] = [performance.now(), this.#looked]
    if (nowMs - atMs < LOOK_EVERY_MS || applied - (applied < before ? 0 : before) < LOOK_AFTER) return
    this.#looked = { atMs: nowMs, applied }
    await condense(this.#sql, this.#namespace, this.#options)
  }
}

export interface CondenseOptions {
  /** Younger ones stay as they are. Default 1 hour. */
  keptMs?: number
  /** Where there are fewer, all stay. Default 2,000. */
  least?: number
  /** Lets other things have their turn. Default: they wait. */
  breathe?: () => Promise<void>
}

/** How many commands there are less. Of several that do it at once, one does. */
export async function condense(
  sql: Sql,
  namespace: string,
  { keptMs = KEPT_MS, least = LEAST, breathe = async () => {} }: CondenseOptions = {},
): Promise<number> {
  // Who replaced them may have died before they went; they count for nobody.
  await forgetReplaced(sql, namespace)
  const old = await findCommandsToCondense(sql, namespace, { keptMs })
  if (old === null || old.count < least) return 0
  const sent = await readSent(sql, namespace, { until: old.tick })
  const registry = new Registry()
  for (const [n, { command, atMs }] of sent.entries()) {
    registry.apply(command, atMs)
    if (n % COMMANDS_A_TURN === COMMANDS_A_TURN - 1) await breathe()
  }
  const commands = keptCommandsOf(registry)
  if (commands.length * GAIN > sent.length) return 0
  const { reachedMs: atMs } = registry.parts
  if (!makesTheSame(commands, atMs, registry)) throw new Error('the commands of long ago cannot be condensed')
  if (!(await replaceCommands(sql, namespace, commands, { ...old, atMs }))) return 0
  await forgetReplaced(sql, namespace)
  return sent.length - commands.length
}

/** Those alone that stay in the log. */
function keptCommandsOf(registry: Registry): Command[] {
  return commandsOf(registry).flatMap((command): Command[] => {
    if ('Time' in command) return command.Time > 0 ? [{ Due: command.Time }] : []
    if (!('Transact' in command)) return [command]
    const { changes, ...when } = command.Transact
    // What was given for later is made whole, or not at all.
    if ('at' in when) return [command]
    const parts = Math.ceil(changes.length / ROWS_A_COMMAND)
    return Array.from({ length: parts }, (_, part): Command => {
      return { Transact: { changes: changes.slice(part * ROWS_A_COMMAND, (part + 1) * ROWS_A_COMMAND) } }
    })
  })
}

function makesTheSame(commands: readonly Command[], atMs: number, registry: Registry): boolean {
  const made = new Registry()
  for (const command of commands) if (made.apply(command, atMs).error !== null) return false
  return JSON.stringify(commandsOf(made)) === JSON.stringify(commandsOf(registry))
}
