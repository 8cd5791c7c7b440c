// What the builder was told of relations that are not the plane's: a plan names the relation alone.
import type { Plan } from './plan.ts'
import type { ColumnType } from './relations.ts'

type Declared = Readonly<Record<string, ColumnType>>

const declarations = new WeakMap<Plan, Declared>()

/** Remembers the columns with which this very step was written. */
export function declareColumns(plan: Plan, columns: Declared): void {
  declarations.set(plan, columns)
}

/** Nothing for a relation of the plane's, and for a plan that was not built here. */
export function declaredColumns(plan: Plan): Declared {
  return declarations.get(plan) ?? {}
}
