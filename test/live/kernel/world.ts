// A dataflow and the tables that it watches, so that a test adds and removes rows and reads what comes out.
import { parsePlan } from '../../../src/protocol/parse-plan.ts'
import type { Plan } from '../../../src/protocol/plan.ts'
import {
  parseRow,
  RELATIONS,
  type Columns,
  type ColumnType,
  type Relations,
  type Row,
  type Value,
} from '../../../src/protocol/relations.ts'
import { checkOf } from '../../../src/live/kernel/evaluate.ts'
import { Dataflow, sourcesOf, type Query } from '../../../src/live/kernel/dataflow.ts'
import { compareRows, indexOf, keyOfRow } from '../../../src/live/kernel/values.ts'

export type Fields = Record<string, unknown>

/** `{ machines: { id: 'text', cores: 'int' } }` beside the relations that every namespace has. */
export function relationsWith(own: Record<string, Record<string, ColumnType>>): Relations {
  const added = Object.entries(own).map(([name, columns]): [string, Columns] => [
    name,
    new Map(Object.entries(columns)),
  ])
  return new Map([...RELATIONS, ...added])
}

export class World {
  readonly flow: Dataflow
  readonly #relations: Relations
  readonly #tables = new Map<string, Row[]>()

  constructor({
    own = {},
    maxRows = 1_000_000,
    nowMs = 0,
  }: { own?: Record<string, Record<string, ColumnType>>; maxRows?: number; nowMs?: number } = {}) {
    this.#relations = relationsWith(own)
    this.flow = new Dataflow({ relations: this.#relations, maxRows, nowMs })
  }

  parse(plan: unknown): Plan {
    return parsePlan(plan, this.#relations).plan
  }

  /** Adds a plan, hydrated from the tables as they are. */
  add({ plan }: { plan: unknown }): Query {
    const parsed = this.parse(plan)
    return this.flow.add(parsed, this.hydrate(parsed))
  }

  hydrate(plan: Plan): Map<string, [Row, number][]> {
    return new Map(
      sourcesOf(plan, this.#relations).map((source) => {
        const columns = this.#columns(source.relation)
        const check = checkOf({ op: 'and', of: source.where }, columns)
        const indices = source.columns.map((name) => indexOf(columns, name))
        const counted = new Map<string, [Row, number]>()
        for (const row of this.#tables.get(source.relation) ?? []) {
          if (check(row) !== true) continue
          const picked = indices.map((index) => row[index] ?? null)
          const key = keyOfRow(picked)
          counted.set(key, [picked, (counted.get(key)?.[1] ?? 0) + 1])
        }
        return [source.text, [...counted.values()]]
      }),
    )
  }

  insert(relation: string, ...rows: Fields[]): void {
    for (const fields of rows) {
      const row = parseRow(this.#columns(relation), fields, relation)
      this.#tables.set(relation, [...(this.#tables.get(relation) ?? []), row])
      this.flow.apply([{ relation, row, diff: 1 }])
    }
  }

  remove(relation: string, ...rows: Fields[]): void {
    for (const fields of rows) {
      const row = parseRow(this.#columns(relation), fields, relation)
      const table = this.#tables.get(relation) ?? []
      const place = table.findIndex((one) => keyOfRow(one) === keyOfRow(row))
      if (place < 0) throw new Error(`no such row in ${relation}`)
      this.#tables.set(relation, table.toSpliced(place, 1))
      this.flow.apply([{ relation, row, diff: -1 }])
    }
  }

  /** Ends the tick: what changed of one query, in the order of the rows. */
  tick(query: Query): [...Value[], diff: number][] {
    return this.ticks(query)[0] ?? []
  }

  /** The same of several. */
  ticks(...queries: readonly Query[]): [...Value[], diff: number][][] {
    const { changes } = this.flow.flush()
    return queries.map((query) =>
      (changes.get(query) ?? [])
        .toSorted(([a], [b]) => compareRows([], a.length)(a, b))
        .map(([row, diff]) => [...row, diff]),
    )
  }

  /** Rows with how many there are of each. */
  rows(query: Query): [...Value[], count: number][] {
    return this.flow.rows(query).map(([row, count]) => [...row, count])
  }

  #columns(relation: string): Columns {
    return this.#relations.get(relation) ?? new Map<string, ColumnType>()
  }
}
