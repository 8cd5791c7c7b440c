// The types of live queries that users see.
import type { PeerStatus } from '../protocol/live.ts'
import type { Plan } from '../protocol/plan.ts'
import type { RowOfColumns } from '../protocol/row-types.ts'
import type { ColumnType } from '../protocol/relations.ts'

/** A query that is registered under a name. Made by `plane.live.register`. */
export interface LiveQuery<R extends object> {
  readonly name: string
  readonly plan: Plan
  /** For the compiler alone: `RowOf<typeof failing>`. */
  readonly row: R
}

/** A row of a query of which only the name is known. A time is milliseconds since 1970, an int64 its digits in a string. */
export type LiveRow = Readonly<Record<string, string | number | boolean | null>>

/** The result of a query at one moment, and what changed since the one before. */
export interface LiveChange<R> {
  /** The log's time: it only grows. */
  readonly tick: number
  /**
   * The whole result, a row as often as it is there. In the order of the plan where that ends with
   * `orderBy(…).limit(…)`, else in none. To be read, not changed.
   */
  readonly rows: readonly R[]
  /** How often a row came (above 0) or went; at first, all that is there. */
  readonly diffs: readonly (readonly [row: R, diff: number])[]
}

/** The changes of a query, for `for await`. */
export interface LiveChanges<R> extends AsyncIterableIterator<LiveChange<R>, undefined> {
  next(): Promise<IteratorResult<LiveChange<R>, undefined>>
  return(): Promise<IteratorResult<LiveChange<R>, undefined>>
  [Symbol.asyncIterator](): LiveChanges<R>
}

export interface WatchOptions {
  /** Aborting it ends the watch: a loop throws its reason, and callbacks are called no more. */
  readonly signal?: AbortSignal | undefined
  /** The plane computes the result anew, for this reason; what changed meanwhile comes as usual. */
  readonly onReset?: ((reason: string) => void) | undefined
}

export interface WatchCallbacks<R> extends WatchOptions {
  /** The next change waits until this has returned, or what it returned has resolved. */
  readonly onChange: (change: LiveChange<R>) => unknown
  /** Why the watch has ended by itself; also what `onChange` or `onReset` threw. Not called after a stop. */
  readonly onError: (error: unknown) => void
}

export interface RegisterOptions {
  /**
   * In so many pieces the query runs, which the peers of live queries share, up to 64: for a state that one of them cannot hold.
   * Default 1.
   */
  readonly shards?: number | undefined
}

export interface RelationOptions {
  /**
   * `raw` (default): rows are counted. `distinct`: a row is there or not. `last_write_wins`: of the rows with equal `key`
   * columns the last one is there.
   */
  readonly semantics?: 'raw' | 'distinct' | 'last_write_wins' | undefined
  readonly key?: readonly string[] | undefined
}

/** A relation of your own, which queries can read: `from(machines.name, machines.columns)`. */
export interface LiveRelation<C extends Record<string, ColumnType>> {
  readonly name: string
  readonly columns: C
  /** Adds rows, all in one tick. A column that is left out is null. */
  insert(...rows: Partial<RowOfColumns<C>>[]): Promise<void>
  /** Takes rows away, all in one tick. */
  remove(...rows: Partial<RowOfColumns<C>>[]): Promise<void>
  /** Rows that come (above 0) or go, in one tick or not at all. */
  transact(...changes: (readonly [row: Partial<RowOfColumns<C>>, diff: number])[]): Promise<void>
}

/**
 * Live queries: results that the plane keeps up to date. One WebSocket carries all of a plane's; it opens with the first
 * use and closes soon after the last. After a cut it opens again, and every watch goes on from the tick that it has.
 *
 * What the plane refuses throws its CallplaneError: `unauthorized`, `forbidden`, `not_found` for a name that nobody
 * registered, `invalid_plan`, `conflict` for a name that is taken, `too_many_queries`, `query_stopped`. Without any answer
 * for five minutes it is `plane_unreachable`; after `plane.close()`, `closed`; where the runtime has no WebSocket,
 * `not_supported`.
 *
 * @example
 * const failures = from('jobs').where({ state: 'failed' }).groupBy('service', 'function').count()
 * const failing = await plane.live.register('failing', failures)
 * for await (const { tick, rows, diffs } of plane.live.watch(failing)) console.log(tick, rows, diffs)
 */
export interface Live {
  /**
   * Gives a plan a name. The same again is fine; another plan under the name, or other shards, is a `conflict`. A plan that
   * cannot be divided into shards is an `invalid_request`, which names the step that stands in the way.
   */
  register<R extends object>(
    name: string,
    query: { readonly plan: Plan; readonly row: R },
    options?: RegisterOptions,
  ): Promise<LiveQuery<R>>
  /** Ends a query, for everyone who watches it. Throws `not_found`. */
  unregister(name: string): Promise<void>
  /**
   * The result of a query and each change of it. The first comes with the whole result. Changes that come while nobody
   * asks for the next are summed. To leave the loop, in whichever way, ends the watch; `plane.close()` ends the loop.
   */
  watch<R extends object>(query: LiveQuery<R>, options?: WatchOptions): LiveChanges<R>
  watch(name: string, options?: WatchOptions): LiveChanges<LiveRow>
  /** The same with callbacks. Returns what stops it. */
  watch<R extends object>(query: LiveQuery<R>, callbacks: WatchCallbacks<R>): () => void
  watch(name: string, callbacks: WatchCallbacks<LiveRow>): () => void
  /** Makes a relation of the namespace's own. The same again is fine; another one under the name is a `conflict`. */
  createRelation<const C extends Record<string, ColumnType>>(
    name: string,
    columns: C,
    options?: RelationOptions,
  ): Promise<LiveRelation<C>>
  /** Ends a relation: it keeps its rows for the queries that read it, and takes no more. */
  closeRelation(name: string): Promise<void>
  /** How the peer of this connection does. */
  status(): Promise<PeerStatus>
}
