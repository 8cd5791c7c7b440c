// A registry as commands: those that make an empty one hold the same. The log has more of them, and other times between them.
import type { Json } from '../db/sql.ts'
import type { Columns, Row } from '../protocol/relations.ts'
import { wireRow } from './audience.ts'
import type { Command } from './commands.ts'
import type { Registry } from './registry.ts'

type Transact = Extract<Command, { Transact: unknown }>['Transact']

/** In an order in which none is refused. */
export function commandsOf({ parts: { queries, own, future }, nowMs }: Registry): Command[] {
  const commands: Command[] = []
  for (const [relation, { made, columns, rows, isTable }] of own) {
    const changes: Transact['changes'] = []
    rows.each((row, diff) => changes.push({ relation, row: jsonRow(columns, row), diff }))
    if (isTable) for (const { row } of changes) commands.push({ Put: { relation, row } })
    else commands.push({ CreateAttribute: made }, { Transact: { changes } })
  }
  for (const { atMs, changes } of future) {
    const sent = changes.map(({ name, relation, row, diff }) => ({
      relation: name,
      row: jsonRow(relation.columns, row),
      diff,
    }))
    commands.push({ Transact: { changes: sent, at: atMs } })
  }
  for (const [name, { isClosed }] of own) if (isClosed) commands.push({ CloseInput: { name } })
  for (const [name, registered] of queries) commands.push({ Register: { name, ...registered } })
  return [...commands, { Time: nowMs }]
}

function jsonRow(columns: Columns, row: Row): Json {
  return wireRow([...columns.keys()], row)
}
