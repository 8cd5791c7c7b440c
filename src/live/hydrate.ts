// What a query begins with: the rows of its sources, and at which tick they stood so.
import type { Json, Sql } from '../db/sql.ts'
import { parseValue, type Row } from '../protocol/relations.ts'
import type { Change } from './kernel/batch.ts'
import type { Source } from './kernel/source.ts'
import { ENTRY_COLUMNS, toEntry, type Entry, type EntryRow } from './log.ts'
import { columnsOfSource, hydrationSql, type View } from './plan-sql.ts'

export interface Hydrated {
  /** The log's head as the rows were read. */
  tick: number
  /** By the text of each source: its rows with how many there are of each. */
  rows: Map<string, Change[]>
  /** What the rows show already, and will get a later tick. */
  unstamped: Entry[]
}

const HEAD = -1
const UNSTAMPED = -2
const HEAD_AND_UNSTAMPED = /* sql */ `
  with head as (
    select tick, watched_from from callplane.heads where namespace = $1
  )
  select -1::int8 as part, to_jsonb(tick) as row, 1::int8 as n from head
  union all
  select -2::int8, to_jsonb(u), 1 from (
    select ${ENTRY_COLUMNS}
    from callplane.events e
    where e.namespace = $1 and e.tick is null and e.at >= (select watched_from from head)
  ) u`

/**
 * One statement, so that all of it is of one moment: what has committed but has no tick is in the rows and not in the ticks
 * up to `tick`, which would count it twice when it gets one. With a `limit`, of each source so many different rows at most.
 */
export async function hydrate(
  sql: Sql,
  sources: readonly Source[],
  view: View,
  { limit }: { limit?: number } = {},
): Promise<Hydrated> {
  const first = limit === undefined ? '' : ` limit ${limit}`
  const params: Parameters<Sql>[1] & unknown[] = [view.namespace]
  const parts = sources.map((source, place) => {
    const statement = hydrationSql(source, view)
    const shift = params.length - 1
    params.push(...statement.params.slice(1))
    // $1 is the namespace in all of them.
    const text = statement.text.replace(/\$(\d+)/g, (_, n: string) => `$${n === '1' ? 1 : Number(n) + shift}`)
    const values = source.columns.map((_column, index) => `c${index}`).join(', ')
    return `select ${place}::int8 as part, jsonb_build_array(${values}) as row, n from (${text}${first}) s`
  })
  type Part = { part: number; row: Json; n: number }
  const rows = await sql<Part>([HEAD_AND_UNSTAMPED, ...parts].join(' union all '), params)
  const hydrated: Hydrated = { tick: 0, rows: new Map(sources.map(({ text }) => [text, []])), unstamped: [] }
  const types = sources.map((source) => [...columnsOfSource(source, view.relations).values()])
  for (const { part, row, n } of rows) {
    if (part === HEAD) hydrated.tick = Number(row)
    else if (part === UNSTAMPED) hydrated.unstamped.push(toEntry(row as EntryRow)) // to_jsonb of those columns
    else if (Array.isArray(row) && n > 0) {
      const source = sources[part]
      const values: Row = (types[part] ?? []).map((type, index) => parseValue(type, row[index] ?? null) ?? null)
      if (source !== undefined) hydrated.rows.get(source.text)?.push([values, n])
    }
  }
  return hydrated
}
