// recurse: the rows that can be derived from the base, exact also when a row goes that others rested on, in cycles too.
//
// Each row knows from how many rows it is derived directly. A count above zero does not prove a row: in a cycle, two can
// hold each other up. So a row that loses a derivation, and is not in the base, is taken out at first, and so is what then
// loses one; and what still has a derivation from the rows that stayed is put back, and so is what follows from it.
import type { Columns, Row } from '../../protocol/relations.ts'
import { Batch } from './batch.ts'
import { aboutBytes, entryBytes } from './bytes.ts'
import { QueryFault } from './evaluate.ts'
import { listOfState, type Feed, type Operator } from './operator.ts'
import { keyOfRow, rowOfKey, typesOf } from './values.ts'

interface Known {
  row: Row
  /** Copies in the base. */
  inBase: number
  /** Derivations by the step from rows that are found. */
  derived: number
  isFound: boolean
}

interface Changed {
  all: Set<Known>
  losing: Set<Known>
}

/** A loss counts also beside a gain: what was gained may rest on the row itself. */
function note({ all, losing }: Changed, entry: Known, diff: number): void {
  all.add(entry)
  if (diff < 0) losing.add(entry)
}

const doubtfulOf = ({ losing }: Changed): Known[] => [...losing].filter(({ isFound, inBase }) => isFound && inBase <= 0)

const provenOf = (entries: Iterable<Known>): Known[] =>
  [...entries].filter(({ isFound, inBase, derived }) => !isFound && inBase + derived > 0)

interface Parts {
  base: Operator
  step: Operator
  /** What has been found, as the step reads it. */
  self: Feed
}

export function recurse(
  { base, step, self }: Parts,
  { columns, maxRows }: { columns: Columns; maxRows: number },
): Operator {
  const known = new Map<string, Known>()

  function entryOf(row: Row): Known {
    const key = keyOfRow(row)
    const entry = known.get(key)
    if (entry !== undefined) return entry
    const made = { row, inBase: 0, derived: 0, isFound: false }
    known.set(key, made)
    return made
  }

  /** What the step says of a change of what has been found: the rows concerned, and of those, the ones that lost a derivation. */
  function derive(change: Batch | null): Changed {
    if (change !== null) self.put(change)
    const changed: Changed = { all: new Set(), losing: new Set() }
    step.pull().each((row, diff) => {
      const entry = entryOf(row)
      entry.derived += diff
      note(changed, entry, diff)
    })
    return changed
  }

  return {
    pull: () => {
      const was = new Map<Known, boolean>()
      const remember = ({ all }: Changed): void => {
        for (const entry of all) if (!was.has(entry)) was.set(entry, entry.isFound)
      }
      const change = derive(null)
      base.pull().each((row, diff) => {
        const entry = entryOf(row)
        entry.inBase += diff
        note(change, entry, diff)
      })
      remember(change)

      for (let doubtful = doubtfulOf(change); doubtful.length > 0;) {
        const gone = new Batch()
        for (const entry of doubtful) {
          entry.isFound = false
          gone.add(entry.row, -1)
        }
        const changed = derive(gone)
        remember(changed)
        doubtful = doubtfulOf(changed)
      }

      for (let proven = provenOf(was.keys()); proven.length > 0;) {
        const come = new Batch()
        for (const entry of proven) {
          entry.isFound = true
          come.add(entry.row, 1)
        }
        if (known.size > maxRows) throw new QueryFault(`a recursion holds more than ${maxRows} rows`)
        const changed = derive(come)
        remember(changed)
        proven = provenOf(changed.all)
      }

      const out = new Batch()
      for (const [entry, wasFound] of was) {
        if (wasFound !== entry.isFound) out.add(entry.row, entry.isFound ? 1 : -1)
        if (entry.inBase === 0 && entry.derived === 0) known.delete(keyOfRow(entry.row))
      }
      return out
    },
    held: () => known.size,
    bytes: () => aboutBytes(known, known.size, ([key, { row }]) => entryBytes(key, row, 4)),
    dump: () => [...known].map(([key, { inBase, derived, isFound }]) => [key, inBase, derived, isFound ? 1 : 0]),
    load: (state) => {
      for (const one of listOfState(state)) {
        const [key, inBase, derived, isFound] = listOfState(one)
        const row = rowOfKey(String(key), typesOf(columns))
        known.set(String(key), { row, inBase: Number(inBase), derived: Number(derived), isFound: isFound === 1 })
      }
    },
  }
}
