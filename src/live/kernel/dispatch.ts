// Finds the sources that a changed row concerns. Those that ask for given values are looked up by the row's, so that a
// thousand queries which differ by a constant cost little more than one.
import type { Condition } from '../../protocol/plan.ts'
import { parseValue, type Columns, type Relations, type Row, type Value } from '../../protocol/relations.ts'
import { Batch } from './batch.ts'
import { checkOf, type Check } from './evaluate.ts'
import { RowIndex } from './row-index.ts'
import type { Source } from './source.ts'
import { indexOf } from './values.ts'

/** A source that is read, by one plan or many, and the changes since the last tick. */
export interface Reader {
  source: Source
  batch: Batch
  /** Leaves of pipelines that read it. */
  users: number
}

interface Entry extends Reader {
  /** What is left to ask once the values have been looked up. */
  check: Check | null
  indices: readonly number[]
  /** The constants that its rows have, and where the row holds them. */
  constants: readonly { index: number; value: Value }[]
}

/** The readers of a relation that fix the same columns. */
interface Shelf {
  indices: readonly number[]
  byValues: RowIndex<Entry[]>
}

export class Dispatch {
  readonly #relations: Relations
  readonly #readers = new Map<string, Entry>()
  readonly #shelves = new Map<string, Map<string, Shelf>>()
  readonly #touched = new Set<Reader>()

  constructor(relations: Relations) {
    this.#relations = relations
  }

  use(source: Source): Reader {
    const known = this.#readers.get(source.text)
    if (known !== undefined) {
      known.users++
      return known
    }
    const entry = this.#entryOf(source, this.#relations.get(source.relation) ?? new Map())
    this.#readers.set(source.text, entry)
    const shelf = this.#shelfOf(entry)
    const row = rowWith(entry.constants)
    const beside = shelf.byValues.get(row)
    if (beside === undefined) shelf.byValues.set(row, [entry])
    else beside.push(entry)
    return entry
  }

  release(reader: Reader): void {
    reader.users--
    const entry = this.#readers.get(reader.source.text)
    if (reader.users > 0 || entry === undefined) return
    this.#readers.delete(reader.source.text)
    this.#touched.delete(reader)
    const shelf = this.#shelfOf(entry)
    const row = rowWith(entry.constants)
    const left = (shelf.byValues.get(row) ?? []).filter((one) => one !== entry)
    if (left.length > 0) shelf.byValues.set(row, left)
    else shelf.byValues.delete(row)
  }

  /** Adds the change to the batches of the readers that it concerns. */
  add(relation: string, row: Row, diff: number): void {
    for (const { byValues } of this.#shelves.get(relation)?.values() ?? []) {
      const entries = byValues.get(row)
      if (entries === undefined) continue
      for (const entry of entries) {
        if (entry.check !== null && entry.check(row) !== true) continue
        const projected: Value[] = []
        for (const index of entry.indices) projected.push(row[index] ?? null)
        if (entry.batch.isEmpty) this.#touched.add(entry)
        entry.batch.add(projected, diff)
      }
    }
  }

  /** The readers with changes, which then have none. */
  take(): Map<Reader, Batch> {
    const taken = new Map<Reader, Batch>()
    for (const reader of this.#touched) {
      taken.set(reader, reader.batch)
      reader.batch = new Batch()
    }
    this.#touched.clear()
    return taken
  }

  #entryOf(source: Source, columns: Columns): Entry {
    const [constants, rest]: [{ index: number; value: Value }[], Condition[]] = [[], []]
    for (const condition of source.where) {
      const constant = constantOf(condition, columns)
      // A second constant for a column is asked of the row.
      if (constant === null || constants.some(({ index }) => index === constant.index)) rest.push(condition)
      else constants.push(constant)
    }
    const check = rest.length === 0 ? null : checkOf({ op: 'and', of: rest }, columns)
    const indices = source.columns.map((name) => indexOf(columns, name))
    return { source, batch: new Batch(), users: 1, check, indices, constants }
  }

  #shelfOf({ source, constants }: Entry): Shelf {
    const shelves = this.#shelves.get(source.relation) ?? new Map<string, Shelf>()
    this.#shelves.set(source.relation, shelves)
    const indices = constants.map(({ index }) => index).toSorted((a, b) => a - b)
    const shelf = shelves.get(indices.join()) ?? { indices, byValues: new RowIndex<Entry[]>(indices) }
    shelves.set(indices.join(), shelf)
    return shelf
  }
}

/** `column = constant`, of one type, so that equal values are the same in a Map. */
function constantOf(of: Condition, columns: Columns): { index: number; value: Value } | null {
  if (of.op !== '=' || of.left.op !== 'column' || of.right.op !== 'literal') return null
  const type = columns.get(of.left.name)
  if (type === undefined || of.right.value === null || of.right.type !== type) return null
  return { index: indexOf(columns, of.left.name), value: parseValue(type, of.right.value) ?? null }
}

function rowWith(constants: Entry['constants']): Row {
  const row: Value[] = []
  for (const { index, value } of constants) row[index] = value
  return row
}
