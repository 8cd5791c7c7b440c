// What every operator is: it pulls the changes of its inputs and answers those of its output. Here, the ones without state.
import type { ColumnType, Row } from '../../protocol/relations.ts'
import { Batch, NOTHING } from './batch.ts'
import type { Check, Compute } from './evaluate.ts'
import { rowOfKey } from './values.ts'

/** The state of an operator, as JSON. */
export type State = null | number | string | State[]

export interface Operator {
  /** The changes of this round, from those of the inputs, which are pulled once. */
  pull: () => Batch
  /** Its output as it is, of an operator that holds it anyway. */
  rows?: (see: (row: Row, count: number) => void) => void
  /** Rows and values that it holds. */
  held: () => number
  /** About how much memory they take. */
  bytes: () => number
  dump: () => State
  /** Into an operator that holds nothing. */
  load: (state: State) => void
}

const STATELESS = { held: () => 0, bytes: () => 0, dump: () => null, load: () => {} }

function stateless(pull: () => Batch): Operator {
  return { ...STATELESS, pull }
}

/** The leaf of a pipeline: hands out once what was put in. */
export interface Feed extends Operator {
  put: (batch: Batch) => void
}

export function feed(): Feed {
  let waiting = NOTHING
  return {
    ...STATELESS,
    put: (batch) => void (waiting = batch),
    pull: () => {
      const batch = waiting
      waiting = NOTHING
      return batch
    },
  }
}

export function filter(input: Operator, check: Check): Operator {
  return stateless(() => {
    const [batch, out] = [input.pull(), new Batch()]
    batch.each((row, diff) => {
      if (check(row) === true) out.add(row, diff)
    })
    return out
  })
}

/** Each row from the row before. */
export function mapRows(input: Operator, columns: readonly Compute[]): Operator {
  const rowOf = (row: Row): Row => columns.map((compute) => compute(row))
  return stateless(() => {
    const batch = input.pull()
    if (batch.isEmpty) return NOTHING
    const out = new Batch()
    batch.each((row, diff) => out.add(rowOf(row), diff))
    return out
  })
}

export function concat(inputs: readonly Operator[]): Operator {
  return stateless(() => {
    const out = new Batch()
    for (const input of inputs) input.pull().each((row, diff) => out.add(row, diff))
    return out
  })
}

/** A list out of a state that this same code has dumped. */
export function listOfState(state: State | undefined): State[] {
  if (Array.isArray(state)) return state
  throw new TypeError('this is no state of the operator')
}

export function loadBag(
  state: State | undefined,
  types: readonly ColumnType[],
  add: (row: Row, count: number) => void,
): void {
  for (const entry of listOfState(state)) {
    const [key, count] = listOfState(entry)
    add(rowOfKey(String(key), types), Number(count))
  }
}
