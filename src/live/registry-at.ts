// The registry as it was at a tick: made from the commands up to there, by a peer that begins, or for a client that comes back.
import type { Sql } from '../db/sql.ts'
import type { Plan } from '../protocol/plan.ts'
import { findTime, readCommands } from './commands.ts'
import { Registry } from './registry.ts'

/** `timeMs`: where windows stood, the same at every peer; null where the log does not tell any more. */
export async function registryAt(
  sql: Sql,
  namespace: string,
  { tick, builtIn }: { tick: number; builtIn: ReadonlyMap<string, Plan> },
): Promise<{ registry: Registry; timeMs: number | null }> {
  const [commands, timeMs] = await Promise.all([
    readCommands(sql, namespace, { until: tick }),
    findTime(sql, namespace, { until: tick }),
  ])
  const registry = new Registry(builtIn)
  for (const { command, atMs } of commands) registry.apply(command, atMs)
  if (timeMs !== null) registry.apply({ Time: timeMs }, timeMs)
  return { registry, timeMs }
}
