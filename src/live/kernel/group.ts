// groupBy: what is known of each group follows its rows, and a group that changed says what it was and what it is.
import type { Plan } from '../../protocol/plan.ts'
import type { Columns, Row } from '../../protocol/relations.ts'
import { accumulatorFor, type Accumulator } from './accumulators.ts'
import { Batch, NOTHING } from './batch.ts'
import { aboutBytes, indexBytes, objectBytes, rowBytes } from './bytes.ts'
import { listOfState, type Operator, type State } from './operator.ts'
import { RowIndex } from './row-index.ts'
import { indexOf, keyOfRow, rowOfKey, typesOf } from './values.ts'

interface Group {
  by: Row
  count: number
  accumulators: Accumulator[]
  /** The row that was last said. */
  said: Row | null
  isTouched: boolean
}

export function groupBy(input: Operator, plan: Extract<Plan, { op: 'groupBy' }>, columns: Columns): Operator {
  const kinds = plan.aggregates.map(([, of]) => accumulatorFor(of, columns))
  const distinctKinds = [...new Map(kinds.map((kind) => [kind.key, kind])).values()]
  const reads = plan.aggregates.map(([, of], n) => {
    const place = distinctKinds.findIndex(({ key }) => key === kinds[n]?.key)
    return { op: of.op, place }
  })
  const indices = plan.by.map((name) => indexOf(columns, name))
  const types = indices.flatMap((index) => typesOf(columns)[index] ?? [])
  const groups = new RowIndex<Group>(indices)
  let held = 0
  // SQL gives one row for the whole, also of nothing; so that one row is there from the beginning.
  let isWhole = plan.by.length === 0

  function groupOf(row: Row): Group {
    const known = groups.get(row)
    if (known !== undefined) return known
    const by = indices.map((index) => row[index] ?? null)
    const group: Group = {
      by,
      count: 0,
      accumulators: distinctKinds.map(({ make }) => make()),
      said: null,
      isTouched: false,
    }
    groups.set(row, group)
    held++
    return group
  }

  const rowOf = (group: Group): Row => [
    ...group.by,
    ...reads.map(({ op, place }) => group.accumulators[place]?.read(op) ?? null),
  ]
  const bytesOf = ({ by, said, accumulators }: Group): number => {
    const known = accumulators.reduce((sum, one) => sum + one.bytes(), 0)
    return indexBytes() + objectBytes(5) + rowBytes(by) + (said === null ? 0 : rowBytes(said)) + known
  }
  const heldBy = (group: Group): number => group.accumulators.reduce((sum, one) => sum + one.held(), 0)

  function finish(group: Group, out: Batch): void {
    group.isTouched = false
    const isThere = group.count > 0 || plan.by.length === 0
    const row = isThere ? rowOf(group) : null
    const { said } = group
    if (row === null || said === null || row.some((value, n) => value !== said[n])) {
      if (said !== null) out.add(said, -1)
      if (row !== null) out.add(row, 1)
      group.said = row
    }
  }

  return {
    pull: () => {
      const batch = input.pull()
      if (batch.isEmpty && !isWhole) return NOTHING
      const touched: [group: Group, row: Row][] = []
      const touch = (row: Row): Group => {
        const group = groupOf(row)
        if (group.isTouched) return group
        group.isTouched = true
        held -= heldBy(group)
        touched.push([group, row])
        return group
      }
      if (isWhole) touch([])
      isWhole = false
      batch.each((row, diff) => {
        const group = touch(row)
        group.count += diff
        for (const accumulator of group.accumulators) accumulator.add(row, diff)
      })
      const out = new Batch()
      for (const [group, row] of touched) {
        finish(group, out)
        held += heldBy(group)
        if (group.count !== 0 || plan.by.length === 0) continue
        groups.delete(row)
        held--
      }
      return out
    },
    rows: (see) =>
      groups.each(({ said }) => {
        if (said !== null) see(said, 1)
      }),
    held: () => held,
    bytes: () => aboutBytes(groups, groups.size, bytesOf),
    dump: () => {
      const dumped: State[] = []
      groups.each((group) => {
        const states = group.accumulators.map((one) => one.dump())
        dumped.push([keyOfRow(group.by), group.count, group.said === null ? 0 : 1, states])
      })
      return dumped
    },
    load: (state) => {
      for (const entry of listOfState(state)) {
        const [key, count, isSaid, states] = listOfState(entry)
        const by = rowOfKey(String(key), types)
        const row: (typeof by)[number][] = []
        indices.forEach((index, place) => (row[index] = by[place] ?? null))
        const group = groupOf(row)
        group.count = Number(count)
        listOfState(states).forEach((one, place) => group.accumulators[place]?.absorb(one, 1))
        group.said = isSaid === 1 ? rowOf(group) : null
        held += heldBy(group)
      }
      isWhole = isWhole && listOfState(state).length === 0
    },
  }
}
