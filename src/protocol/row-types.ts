// The TypeScript types of rows, for the builder: more exact than a plan's column types, which know no null.
import type { Failure, JobState } from './job.ts'
import type { ColumnType } from './relations.ts'

/** The rows of the relations that every namespace has. Times are milliseconds since the epoch. */
export interface BuiltInRows {
  jobs: {
    id: string
    service: string
    function: string
    state: JobState
    failure: Failure | null
    runner: string | null
    attempt: number
    priority: number
    parent: string | null
    created_at: number
    started_at: number | null
    finished_at: number | null
    wait_ms: number | null
    run_ms: number | null
  }
  redrives: { id: string; redriven_from: string }
  runners: { id: string; host: string | null; sdk: string | null; joined_at: number; left_at: number | null }
  services: { service: string; function: string }
}

interface TypeOfColumn {
  text: string
  bool: boolean
  int: number
  int64: bigint
  float: number
  time: number
}

export type RowOfColumns<C extends Record<string, ColumnType>> = { -readonly [K in keyof C]: TypeOfColumn[C[K]] | null }

/** The names of the columns that hold a T, or null. */
export type Named<R, T> = { [K in keyof R & string]: R[K] extends T | null ? K : never }[keyof R & string]
