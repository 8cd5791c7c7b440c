// What a plan reads of a relation: some columns of the rows that fit.
import type { Condition } from '../../protocol/plan.ts'

/**
 * A hydration gives each different row of `columns` among those that fit `where`, with how many there are. Rows whose
 * `since.column` is not within the last `lengthMs`, or is null, may be left out.
 */
export interface Source {
  /** Equal for equal sources: the key of a hydration. */
  text: string
  relation: string
  columns: string[]
  /** All of them must hold. */
  where: Condition[]
  since?: { column: string; lengthMs: number }
}

export function sourceOf(
  relation: string,
  columns: string[],
  filters: readonly Condition[],
  since: Source['since'],
): Source {
  const byText = new Map(filters.map((condition) => [JSON.stringify(condition), condition]))
  const where = [...byText].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, condition]) => condition)
  const source = { relation, columns, where, ...(since === undefined ? {} : { since }) }
  return { text: JSON.stringify(source), ...source }
}
