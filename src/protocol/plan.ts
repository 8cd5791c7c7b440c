// A plan: a standing query as data. Each step names the step that it reads, down to the relations.
import type { ColumnType } from './relations.ts'

/** A constant as JSON; an `int64` is its digits in a string. */
export type Literal = string | number | boolean | null

export const ARITHMETIC = ['+', '-', '*', '/', '%'] as const
export const COMPARISONS = ['=', '!=', '<', '<=', '>', '>='] as const
export const TIME_UNITS = ['minute', 'hour', 'day', 'week'] as const
export type Arithmetic = (typeof ARITHMETIC)[number]
export type Comparison = (typeof COMPARISONS)[number]
export type TimeUnit = (typeof TIME_UNITS)[number]

/**
 * What a value is computed from. Null in, null out. Whole numbers divide towards zero. A result out of its type's range,
 * or a division by zero, stops the query.
 */
export type Expression =
  | { op: 'column'; name: string }
  /** Without a type, it takes that of what it is compared with, else the one that its JSON suggests. */
  | { op: 'literal'; value: Literal; type?: ColumnType }
  | { op: Arithmetic; left: Expression; right: Expression }
  | { op: 'negate'; of: Expression }
  /** Down to the beginning, in UTC; a week begins on Monday. */
  | { op: 'truncate'; to: TimeUnit; of: Expression }
  /** Of an int, the bound of its bucket. A peer writes it, who divides a plan into shards; clients cannot. */
  | { op: 'bucket'; of: Expression }

/** True, false or unknown, as in SQL: a comparison with null is unknown, and a row passes where it is true. */
export type Condition =
  | { op: Comparison; left: Expression; right: Expression }
  | { op: 'in'; of: Expression; values: Literal[]; type?: ColumnType }
  | { op: 'is null'; of: Expression }
  | { op: 'and' | 'or'; of: Condition[] }
  | { op: 'not'; of: Condition }
  /** Whether a row is of shard `at`, from 0, among `of`: a hash of these values tells. Never unknown; clients cannot write it. */
  | { op: 'shard'; by: Expression[]; of: number; at: number }

/**
 * What is computed of a group. All but `count` without a column and `rate` pass over nulls, and are null where nothing
 * else is there.
 *
 * - `sum` is of its column's type; `avg` and `variance` (of the population) are floats, rounded once.
 * - `median` is exact: the lower of the two in the middle.
 * - `p50`, `p95`, `p99`, of an `int`: the upper bound of the bucket that holds it, at most 1/128 above it.
 * - `rate`: the share of the rows fitting `among` (default: all) that fit `where`.
 */
export type Aggregate =
  | { op: 'count'; column?: string }
  | { op: 'sum' | 'avg' | 'variance' | 'min' | 'max' | 'median' | 'p50' | 'p95' | 'p99'; column: string }
  | { op: 'rate'; where: Condition; among?: Condition }

/**
 * What a peer writes who divides a plan into shards; clients cannot.
 *
 * - `state`: all that an aggregate knows of its rows, as a text.
 * - `merge`: an aggregate, from texts of its state over a column of this `type`; with `times`, from values of that column, each
 *   as often as that says.
 */
export type PartialAggregate =
  | { op: 'state'; of: Aggregate }
  | { op: 'merge'; of: Aggregate['op']; type: ColumnType; column: string; times?: string }

export type JoinKind = 'inner' | 'left' | 'anti'
export type Direction = 'asc' | 'desc'

/** Rows are counted: a step can give the same row several times, and `distinct` makes one of them. */
export type Plan =
  | { op: 'from'; relation: string }
  /** Inside the `step` of a `recurse`: what it has found. */
  | { op: 'self'; name: string }
  | { op: 'where'; input: Plan; condition: Condition }
  /** Adds columns. */
  | { op: 'map'; input: Plan; columns: [name: string, of: Expression][] }
  /** Chooses and renames columns: [new name, column]. */
  | { op: 'project'; input: Plan; columns: [name: string, column: string][] }
  /**
   * The left row beside each right one with equal values in the columns of `on` ([left, right]); null equals nothing. The
   * right columns of `on` are left out, the others are called `prefix` and their name. `left` keeps a row without a
   * match, with nulls; `anti` keeps only those.
   */
  | { op: 'join'; kind: JoinKind; left: Plan; right: Plan; on: [left: string, right: string][]; prefix?: string }
  /** Without duplicates; all inputs have the same columns. */
  | { op: 'union'; inputs: Plan[] }
  | { op: 'unionAll'; inputs: Plan[] }
  | { op: 'distinct'; input: Plan }
  /** One row a group; without `by`, exactly one row, also of nothing. */
  | { op: 'groupBy'; input: Plan; by: string[]; aggregates: [name: string, of: Aggregate | PartialAggregate][] }
  /** The first rows; rows that tie are ordered by all their columns. Nulls come last, and first in `desc`. */
  | { op: 'top'; input: Plan; orderBy: [column: string, direction: Direction][]; limit: number }
  /** The rows whose `column` is in (now − lengthMs, now]. Now is the log's, the same at every peer. */
  | { op: 'window'; input: Plan; column: string; lengthMs: number }
  /** The smallest set that holds `base` and, with it, `step` of itself. `step` reads itself once, and not in an aggregate. */
  | { op: 'recurse'; name: string; base: Plan; step: Plan }

/** The text of a parsed plan: equal for equal plans, since `parsePlan` writes every field, in one order. */
export function planText(plan: Plan): string {
  return JSON.stringify(plan)
}
