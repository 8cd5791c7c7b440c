// top: all rows in order, of which the first ones are the output.
import type { Plan } from '../../protocol/plan.ts'
import type { Columns, Row } from '../../protocol/relations.ts'
import { Batch, NOTHING } from './batch.ts'
import { aboutBytes, sortedRowBytes } from './bytes.ts'
import { loadBag, type Operator, type State } from './operator.ts'
import { SortedBag, type Order } from './sorted-bag.ts'
import { compareRows, indexOf, keyOfRow, rankBy, typesOf } from './values.ts'

type Top = Extract<Plan, { op: 'top' }>

/** The order of a top, in which no two different rows are equal. */
export function orderOf(plan: Top, columns: Columns): Order<Row> {
  const steps = plan.orderBy.map(([name, direction]) => {
    const sign: 1 | -1 = direction === 'asc' ? 1 : -1
    return { index: indexOf(columns, name), sign }
  })
  return { compare: compareRows(steps, columns.size), rank: rankBy(steps[0] ?? { index: 0, sign: 1 }) }
}

export function top(input: Operator, plan: Top, columns: Columns): Operator {
  const order = orderOf(plan, columns)
  const { compare } = order
  const bag = new SortedBag<Row>(order)
  let shown: { row: Row; count: number }[] = []

  function first(): typeof shown {
    const rows: typeof shown = []
    let left = plan.limit
    bag.each((row, count) => {
      rows.push({ row, count: Math.min(count, left) })
      left -= count
      return left > 0
    })
    return rows
  }

  return {
    pull: () => {
      const batch = input.pull()
      if (batch.isEmpty) return NOTHING
      const last = shown.at(-1)
      const isFull = shown.reduce((sum, { count }) => sum + count, 0) === plan.limit
      let isMoved = false
      batch.each((row, diff) => {
        bag.add(row, diff)
        // What comes or goes behind the last that is shown moves nothing.
        if (!isFull || last === undefined || compare(row, last.row) <= 0) isMoved = true
      })
      if (!isMoved) return NOTHING
      const [before, out] = [shown, new Batch()]
      shown = first()
      for (const { row, count } of before) out.add(row, -count)
      for (const { row, count } of shown) out.add(row, count)
      return out
    },
    rows: (see) => shown.forEach(({ row, count }) => see(row, count)),
    held: () => bag.size,
    bytes: () => aboutBytes(bag, bag.size, sortedRowBytes),
    dump: () => {
      const rows: State[] = []
      bag.each((row, count) => rows.push([keyOfRow(row), count]) > 0)
      return rows
    },
    load: (state) => {
      loadBag(state, typesOf(columns), (row, count) => bag.add(row, count))
      shown = first()
    },
  }
}
