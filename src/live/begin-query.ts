// A query begins: its rows are read while the log goes on, and brought to the tick at which it joins.
//
//   log       ── 7 ── 8 ── 9 ── 10 ── 11 ──▶
//   tables           └ read at 8, with what has no tick yet
//   query                          └ joins at 10: the rows, less what had no tick, and ticks 9 and 10
import type { Sql } from '../db/sql.ts'
import type { Plan } from '../protocol/plan.ts'
import { hydrate } from './hydrate.ts'
import { sourcesOf, type Dataflow, type Query } from './kernel/dataflow.ts'
import type { Registry } from './registry.ts'
import { undoStep } from './step-changes.ts'
import type { Ticks } from './ticks.ts'

export interface Beginning {
  sql: Sql
  namespace: string
  registry: Registry
  flow: Dataflow
  ticks: Ticks
  /** The log is wanted up to where the tables were read. */
  poke: () => void
}

/** The plan's query, as of the tick at which this resolves. */
export async function beginQuery(
  plan: Plan,
  { sql, namespace, registry, flow, ticks, poke }: Beginning,
): Promise<Query> {
  if (flow.find(plan) !== null) return flow.add(plan)
  const sources = sourcesOf(plan, registry.relations)
  const [own, inTables] = [true, false].map((isOwn) => sources.filter((one) => registry.isOwn(one.relation) === isOwn))
  const view = { relations: registry.relations, namespace, nowMs: registry.nowMs }
  const since = ticks.record()
  try {
    const { tick, rows, unstamped } = await hydrate(sql, inTables ?? [], view)
    if (ticks.now < tick) poke()
    await ticks.until(tick)
    // Another name may have brought the same plan meanwhile.
    if (flow.find(plan) !== null) return flow.add(plan)
    const early = unstamped.flatMap((entry) => ('command' in entry ? [] : undoStep(entry)))
    const later = since.after(tick).filter(({ relation }) => !registry.isOwn(relation))
    for (const { text } of own ?? []) rows.set(text, [])
    const ownRows = [...new Set(own?.map(({ relation }) => relation))].flatMap((one) => registry.rowsOf(one))
    return flow.add(plan, rows, [...early, ...later, ...ownRows])
  } finally {
    since.stop()
  }
}
