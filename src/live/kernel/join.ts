// Joins: each side is kept by the values that are compared, and a row that comes or goes meets the other side's.
import type { Plan } from '../../protocol/plan.ts'
import { keptOfRight } from '../../protocol/plan-columns.ts'
import type { Columns, Row } from '../../protocol/relations.ts'
import { Bag, Batch, NOTHING } from './batch.ts'
import { aboutBytes, indexBytes, objectBytes, rowBytes } from './bytes.ts'
import { listOfState, loadBag, type Operator, type State } from './operator.ts'
import { RowIndex } from './row-index.ts'
import { indexOf, keyOfRow, rowOfKey, typesOf } from './values.ts'

/** The rows of both sides with the same values. `matches` counts the right ones, each as often as it is there. */
interface Meeting {
  values: Row
  left: Bag
  right: Bag
  matches: number
  /** Before this round; null where nothing came from the right. */
  matchesBefore: number | null
}

type Join = Extract<Plan, { op: 'join' }>

export function join(
  inputs: { left: Operator; right: Operator },
  plan: Join,
  columns: { left: Columns; right: Columns },
): Operator {
  const leftAt = plan.on.map(([name]) => indexOf(columns.left, name))
  const rightAt = plan.on.map(([, name]) => indexOf(columns.right, name))
  const kept = keptOfRight(plan, columns.right).map(([name]) => indexOf(columns.right, name))
  const nulls: Row = kept.map(() => null)
  const keepsUnmatched = plan.kind !== 'inner'
  const meetings = new RowIndex<Meeting>(leftAt.map((_, place) => place))
  let held = 0

  const pair = (left: Row, right: Row): Row => [...left, ...kept.map((at) => right[at] ?? null)]
  const unmatched = (left: Row): Row => (plan.kind === 'anti' ? left : [...left, ...nulls])
  const hasNull = (row: Row, at: readonly number[]): boolean => at.some((index) => (row[index] ?? null) === null)

  function meetingOf(row: Row, at: readonly number[]): Meeting {
    const known = meetings.get(row, at)
    if (known !== undefined) return known
    const values = at.map((index) => row[index] ?? null)
    const meeting = { values, left: new Bag(), right: new Bag(), matches: 0, matchesBefore: null }
    meetings.set(values, meeting)
    held++
    return meeting
  }

  function bytesOf({ values, left, right }: Meeting): number {
    return indexBytes() + objectBytes(5) + rowBytes(values) + left.bytes + right.bytes
  }

  function addTo(bag: Bag, row: Row, diff: number): void {
    held -= bag.size
    bag.add(keyOfRow(row), row, diff)
    held += bag.size
  }

  function addLeft(row: Row, diff: number, out: Batch): void {
    if (hasNull(row, leftAt)) {
      if (keepsUnmatched) out.add(unmatched(row), diff)
      return
    }
    const meeting = meetingOf(row, leftAt)
    addTo(meeting.left, row, diff)
    if (keepsUnmatched && meeting.matches === 0) out.add(unmatched(row), diff)
    if (plan.kind !== 'anti') meeting.right.each((right, count) => out.add(pair(row, right), diff * count))
    forgetEmpty(meeting)
  }

  function addRight(row: Row, diff: number, out: Batch, touched: Set<Meeting>): void {
    if (hasNull(row, rightAt)) return
    const meeting = meetingOf(row, rightAt)
    if (meeting.matchesBefore === null) {
      meeting.matchesBefore = meeting.matches
      touched.add(meeting)
    }
    meeting.matches += diff
    // An anti-join needs to know how many there are, and nothing of them.
    if (plan.kind === 'anti') return
    addTo(meeting.right, row, diff)
    meeting.left.each((left, count) => out.add(pair(left, row), diff * count))
  }

  /** Left rows that lost their last match, or found their first, once the round is over. */
  function settle(meeting: Meeting, out: Batch): void {
    const [was, is] = [meeting.matchesBefore === 0, meeting.matches === 0]
    meeting.matchesBefore = null
    if (keepsUnmatched && was !== is) meeting.left.each((left, count) => out.add(unmatched(left), is ? count : -count))
    forgetEmpty(meeting)
  }

  function forgetEmpty(meeting: Meeting): void {
    if (meeting.left.size === 0 && meeting.right.size === 0 && meeting.matches === 0) {
      meetings.delete(meeting.values)
      held--
    }
  }

  const [leftTypes, rightTypes] = [typesOf(columns.left), typesOf(columns.right)]
  const valueTypes = leftAt.flatMap((at) => leftTypes[at] ?? [])
  return {
    pull: () => {
      const [fromLeft, fromRight] = [inputs.left.pull(), inputs.right.pull()]
      if (fromLeft.isEmpty && fromRight.isEmpty) return NOTHING
      const out = new Batch()
      fromLeft.each((row, diff) => addLeft(row, diff, out))
      const touched = new Set<Meeting>()
      fromRight.each((row, diff) => addRight(row, diff, out, touched))
      for (const meeting of touched) settle(meeting, out)
      return out
    },
    held: () => held,
    bytes: () => aboutBytes(meetings, meetings.size, bytesOf),
    dump: () => {
      const dumped: State[] = []
      meetings.each(({ values, left, right, matches }) => {
        dumped.push([keyOfRow(values), left.dump(), right.dump(), matches])
      })
      return dumped
    },
    load: (state) => {
      for (const entry of listOfState(state)) {
        const [key, lefts, rights, matches] = listOfState(entry)
        const values = rowOfKey(String(key), valueTypes)
        const meeting = meetingOf(
          values,
          values.map((_, place) => place),
        )
        meeting.matches = Number(matches)
        loadBag(lefts, leftTypes, (row, count) => addTo(meeting.left, row, count))
        loadBag(rights, rightTypes, (row, count) => addTo(meeting.right, row, count))
      }
    },
  }
}
