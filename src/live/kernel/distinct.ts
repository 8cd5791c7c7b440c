// distinct: a row is there once, from its first copy to its last.
import type { Columns } from '../../protocol/relations.ts'
import { Bag, Batch, NOTHING } from './batch.ts'
import { loadBag, type Operator } from './operator.ts'
import { keyOfRow, typesOf } from './values.ts'

export function distinct(input: Operator, columns: Columns): Operator {
  const bag = new Bag()
  return {
    pull: () => {
      const batch = input.pull()
      if (batch.isEmpty) return NOTHING
      const out = new Batch()
      batch.each((row, diff) => {
        const before = bag.add(keyOfRow(row), row, diff)
        const [was, is] = [before > 0, before + diff > 0]
        if (was !== is) out.add(row, is ? 1 : -1)
      })
      return out
    },
    rows: (see) => bag.each((row) => see(row, 1)),
    held: () => bag.size,
    bytes: () => bag.bytes,
    dump: () => bag.dump(),
    load: (state) => loadBag(state, typesOf(columns), (row, count) => bag.add(keyOfRow(row), row, count)),
  }
}
