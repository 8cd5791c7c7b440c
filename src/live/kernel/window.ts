// window: rows whose time lies in (now − length, now]; those of the future wait, and those that are past are forgotten.
import type { Plan } from '../../protocol/plan.ts'
import type { Columns, Row } from '../../protocol/relations.ts'
import { Batch } from './batch.ts'
import { aboutBytes, sortedRowBytes } from './bytes.ts'
import { loadBag, type Operator, type State } from './operator.ts'
import { SortedBag } from './sorted-bag.ts'
import { compareRows, indexOf, keyOfRow, rankBy, typesOf } from './values.ts'

/** The time that all windows of a dataflow share. It moves when it is told to. */
export interface Clock {
  nowMs: number
}

export function window(
  input: Operator,
  plan: Extract<Plan, { op: 'window' }>,
  { columns, clock }: { columns: Columns; clock: Clock },
): Operator {
  const index = indexOf(columns, plan.column)
  const first = { index, sign: 1 } as const
  const byTime = { compare: compareRows([first], columns.size), rank: rankBy(first) }
  const [shown, future] = [new SortedBag<Row>(byTime), new SortedBag<Row>(byTime)]
  const timeOf = (row: Row): number | null => {
    const value = row[index]
    return typeof value === 'number' ? value : null
  }

  /** The rows that are not later than so, taken out. */
  function take(bag: SortedBag<Row>, untilMs: number): [Row, number][] {
    const taken: [Row, number][] = []
    bag.each((row, count) => {
      const isDue = (timeOf(row) ?? 0) <= untilMs
      if (isDue) taken.push([row, count])
      return isDue
    })
    for (const [row, count] of taken) bag.add(row, -count)
    return taken
  }

  return {
    pull: () => {
      const out = new Batch()
      const fromMs = clock.nowMs - plan.lengthMs
      for (const [row, count] of take(shown, fromMs)) out.add(row, -count)
      const show = (row: Row, diff: number): void => {
        const timeMs = timeOf(row)
        if (timeMs === null || timeMs <= fromMs) return
        if (timeMs > clock.nowMs) return future.add(row, diff)
        shown.add(row, diff)
        out.add(row, diff)
      }
      for (const [row, count] of take(future, clock.nowMs)) show(row, count)
      input.pull().each(show)
      return out
    },
    held: () => shown.size + future.size,
    bytes: () => aboutBytes(shown, shown.size, sortedRowBytes) + aboutBytes(future, future.size, sortedRowBytes),
    dump: () =>
      [shown, future].map((bag) => {
        const rows: State[] = []
        bag.each((row, count) => rows.push([keyOfRow(row), count]) > 0)
        return rows
      }),
    load: (state) => {
      const [now, later] = Array.isArray(state) ? state : []
      loadBag(now, typesOf(columns), (row, count) => shown.add(row, count))
      loadBag(later, typesOf(columns), (row, count) => future.add(row, count))
    },
  }
}
