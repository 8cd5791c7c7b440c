// What a step of a job changes in the relations that are read from tables, forwards and back.
import type { RelationChange } from './kernel/dataflow.ts'
import type { Step } from './log.ts'

export function changesOfStep({ before, after, redrivenFrom }: Step): RelationChange[] {
  const changes: RelationChange[] = []
  if (before !== null) changes.push({ relation: 'jobs', row: before, diff: -1 })
  if (after !== null) changes.push({ relation: 'jobs', row: after, diff: 1 })
  if (redrivenFrom === null) return changes
  // It is known of a job that is made or forgotten here.
  const row = [(after ?? before)?.[0] ?? null, redrivenFrom]
  return [...changes, { relation: 'redrives', row, diff: after === null ? -1 : 1 }]
}

export function undoStep(step: Step): RelationChange[] {
  return changesOfStep(step).map(({ relation, row, diff }) => ({ relation, row, diff: -diff }))
}
