// The typed builder of plans: `from('jobs').where({ state: 'failed' }).groupBy('service', 'function').count()`.
import { toAggregate, type AggregateOf, type Aggregation } from './aggregation.ts'
import { compare, shortForm, Test, type Short } from './condition.ts'
import { declareColumns } from './declared-columns.ts'
import { toExpression, type Computed, type Operand } from './expression.ts'
import type { Aggregate, Comparison, Direction, JoinKind, Plan } from './plan.ts'
import type { BuiltInRows, Named, RowOfColumns } from './row-types.ts'
import type { ColumnType } from './relations.ts'

type Flat<T> = { [K in keyof T]: T[K] }
type Nullable<T> = { [K in keyof T]: T[K] | null }
type Key<R> = keyof R & string
/** The same columns, whose types the plane compares; nulls may be in one alone. */
type Alike<R> = { [K in keyof R]: unknown }
type Either<R, S extends Alike<R>> = { [K in keyof R]: R[K] | S[K] }
/** Rows without the columns that a join compares, the others with the prefix. */
type Joined<R, On, P extends string> = { [K in keyof R as K extends On ? never : `${P}${K & string}`]: R[K] }
type JoinOptions<L, R, P extends string> = {
  /** A column of both, or pairs of left and right. */
  on: (Key<L> & Key<R>) | readonly (readonly [Key<L>, Key<R>])[]
  prefix?: P
}
type Compared<On> = On extends readonly (readonly [string, infer C])[] ? C : On

/** The row of a query: `RowOf<typeof failing>`. */
export type RowOf<Q> = Q extends { readonly row: infer R } ? Flat<R> : never

/**
 * A plan and the type of its rows. It never changes: each method gives another one, and `plan` is the data that is sent.
 * Nothing is checked here but by the compiler; the plane checks every plan.
 */
export class Query<R extends object> {
  readonly plan: Plan
  /** For the compiler alone. */
  declare readonly row: R

  constructor(plan: Plan) {
    this.plan = plan
  }

  /** `where({ state: 'failed', runner: null, service: ['a', 'b'] })`, `where('run_ms', '>', 1_000)` or `where(or(…))`. */
  where<C extends Key<R>>(column: C, is: Comparison, value: Operand<R, R[C]>): Query<R>
  where(condition: Short<R> | Test<Key<R>>): Query<R>
  where(of: string | Short<R> | Test<Key<R>>, is: Comparison = '=', value: unknown = null): Query<R> {
    const condition =
      typeof of === 'string' ? compare(of, is, value) : of instanceof Test ? of.condition : shortForm(of)
    return new Query({ op: 'where', input: this.plan, condition })
  }

  /** Adds columns: `map({ total_ms: plus('wait_ms', 'run_ms'), hour: truncate('created_at', 'hour') })`. */
  map<M extends Record<string, Computed<Key<R>, unknown>>>(
    columns: M,
  ): Query<Flat<R & { [K in keyof M]: M[K] extends Computed<string, infer T> ? T : never }>> {
    return new Query({
      op: 'map',
      input: this.plan,
      columns: Object.entries(columns).map(([name, of]) => [name, toExpression(of)]),
    })
  }

  /** Chooses columns, `select('id', 'state')`, and renames them, `select({ job: 'id' })`. */
  select<C extends Key<R>>(...columns: C[]): Query<Pick<R, C>>
  select<const M extends Record<string, Key<R>>>(columns: M): Query<{ -readonly [K in keyof M]: R[M[K]] }>
  select(first: string | Record<string, string>, ...others: string[]): unknown {
    const columns: [string, string][] =
      typeof first === 'string' ? [first, ...others].map((name) => [name, name]) : Object.entries(first)
    return new Query({ op: 'project', input: this.plan, columns })
  }

  /** Each row beside those of the other query with the same values. */
  join<S extends object, const O extends JoinOptions<R, S, P>, const P extends string = ''>(
    other: Query<S>,
    options: O & { prefix?: P },
  ): Query<Flat<R & Joined<S, Compared<O['on']>, P>>> {
    return this.#join('inner', other, options)
  }

  /** Keeps a row without a match, with nulls beside it. */
  leftJoin<S extends object, const O extends JoinOptions<R, S, P>, const P extends string = ''>(
    other: Query<S>,
    options: O & { prefix?: P },
  ): Query<Flat<R & Nullable<Joined<S, Compared<O['on']>, P>>>> {
    return this.#join('left', other, options)
  }

  /** The rows without a match. */
  antiJoin<S extends object>(other: Query<S>, options: JoinOptions<R, S, ''>): Query<R> {
    return this.#join('anti', other, options)
  }

  #join<Out extends object>(
    kind: JoinKind,
    other: { plan: Plan },
    { on, prefix }: { on: string | readonly (readonly [string, string])[]; prefix?: string },
  ): Query<Out> {
    const pairs: [string, string][] = typeof on === 'string' ? [[on, on]] : on.map(([left, right]) => [left, right])
    const called = prefix ? { prefix } : {}
    return new Query({ op: 'join', kind, left: this.plan, right: other.plan, on: pairs, ...called })
  }

  /** The rows of both, each once. */
  union<S extends Alike<R>>(other: Query<S>): Query<Either<R, S>> {
    return new Query({ op: 'union', inputs: [this.plan, other.plan] })
  }

  unionAll<S extends Alike<R>>(other: Query<S>): Query<Either<R, S>> {
    return new Query({ op: 'unionAll', inputs: [this.plan, other.plan] })
  }

  distinct(): Query<R> {
    return new Query({ op: 'distinct', input: this.plan })
  }

  /** Followed by what is computed of each group; without columns, of all rows. */
  groupBy<C extends Key<R> = never>(...by: C[]): Groups<R, C> {
    return new Groups(this.plan, by)
  }

  /** Followed by `limit`: `orderBy('run_ms', 'desc').limit(10)`. Rows that tie are ordered by all their columns. */
  orderBy(
    column: Key<R>,
    direction: Direction = 'asc',
    ...more: [Key<R>, Direction][]
  ): { limit: (rows: number) => Query<R> } {
    const orderBy: [string, Direction][] = [[column, direction], ...more]
    return { limit: (limit) => new Query({ op: 'top', input: this.plan, orderBy, limit }) }
  }

  /** The rows whose time lies within the last so many milliseconds: `window('finished_at', 5 * 60_000)`. */
  window(column: Key<R>, lengthMs: number): Query<R> {
    return new Query({ op: 'window', input: this.plan, column, lengthMs })
  }

  /** These rows and, again and again, what `step` makes of the rows found: each once. */
  recurse<S extends Alike<R>>(step: (found: Query<R>) => Query<S>, name = 'found'): Query<Either<R, S>> {
    return new Query({ op: 'recurse', name, base: this.plan, step: step(new Query<R>({ op: 'self', name })).plan })
  }
}

/** Rows by group, before it is said what to compute of them. */
export class Groups<R extends object, C extends Key<R>> {
  readonly #input: Plan
  readonly #by: C[]

  constructor(input: Plan, by: C[]) {
    this.#input = input
    this.#by = by
  }

  /** Several at once: `aggregate({ calls: count(), mean: avg('run_ms') })`. */
  aggregate<A extends Record<string, Aggregation<Key<R>>>>(
    aggregates: A,
  ): Query<Flat<Pick<R, C> & { [K in keyof A]: AggregateOf<A[K], R> }>> {
    return new Query({
      op: 'groupBy',
      input: this.#input,
      by: this.#by,
      aggregates: Object.entries(aggregates).map(([name, of]) => [name, toAggregate(of)]),
    })
  }

  /** How many rows, as `count`. */
  count(): Query<Flat<Pick<R, C> & { count: number }>> {
    return this.#one({ op: 'count' })
  }
  sum<K extends Named<R, number | bigint>>(column: K): Query<Flat<Pick<R, C> & { sum: R[K] | null }>> {
    return this.#one({ op: 'sum', column })
  }
  avg(column: Named<R, number | bigint>): Query<Flat<Pick<R, C> & { avg: number | null }>> {
    return this.#one({ op: 'avg', column })
  }
  min<K extends Key<R>>(column: K): Query<Flat<Pick<R, C> & { min: R[K] | null }>> {
    return this.#one({ op: 'min', column })
  }
  max<K extends Key<R>>(column: K): Query<Flat<Pick<R, C> & { max: R[K] | null }>> {
    return this.#one({ op: 'max', column })
  }
  median<K extends Key<R>>(column: K): Query<Flat<Pick<R, C> & { median: R[K] | null }>> {
    return this.#one({ op: 'median', column })
  }

  #one<Out extends object>(of: Aggregate): Query<Out> {
    return new Query({ op: 'groupBy', input: this.#input, by: this.#by, aggregates: [[of.op, of]] })
  }
}

/** The rows of a relation: one of the plane's, or one of your own, whose columns you name. */
export function from<N extends keyof BuiltInRows>(relation: N): Query<BuiltInRows[N]>
export function from<const C extends Record<string, ColumnType>>(relation: string, columns: C): Query<RowOfColumns<C>>
export function from(relation: string, columns?: Record<string, ColumnType>): Query<object> {
  const plan: Plan = { op: 'from', relation }
  if (columns !== undefined) declareColumns(plan, columns)
  return new Query(plan)
}
