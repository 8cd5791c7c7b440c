// What clients have made for all of a namespace: names of plans, and relations of their own. The same at every peer, since
// it changes by the log alone.
import { CallplaneError } from '../protocol/errors.ts'
import { MAX_AHEAD_MS } from '../protocol/limits.ts'
import type { Attribute } from '../protocol/live.ts'
import { parsePlan } from '../protocol/parse-plan.ts'
import { planText, type Plan } from '../protocol/plan.ts'
import { parseRow, RELATIONS, type Columns, type Row } from '../protocol/relations.ts'
import { isKept, type Command } from './commands.ts'
import { FutureChanges } from './future-changes.ts'
import { Bag } from './kernel/batch.ts'
import type { RelationChange } from './kernel/dataflow.ts'
import { keyAt, keyOfRow } from './kernel/values.ts'
import { dividePlan, type DividedPlan } from './shard-plan.ts'

/** Of a namespace: each costs memory at every peer, whether or not anybody is interested. */
const MAX_NAMES = 10_000
const MAX_RELATIONS = 100
const MAX_ROWS = 1_000_000

interface OwnRelation {
  made: Attribute
  columns: Columns
  rows: Bag
  /** Where the last write wins: the row of each key. */
  byKey: Map<string, Row>
  keyOf: (row: Row) => string
  isClosed: boolean
  /** Its rows come from a table of the plane's own, not from clients. */
  isTable: boolean
}

/** Tables beside the jobs, by their keys: small enough to be kept whole. */
const TABLES: readonly (readonly [relation: string, key: readonly string[]])[] = [
  ['runners', ['id']],
  ['services', ['service', 'function']],
]

/** What a name stands for. */
export interface Registered {
  plan: Plan
  /** In so many pieces it runs. */
  shards: number
}

/** A row that a client has sent, for its relation. */
interface OwnChange {
  name: string
  relation: OwnRelation
  row: Row
  diff: number
}

/** Rows that came and went as a command was applied, and why it did nothing of its own. */
export interface Applied {
  changes: RelationChange[]
  error: CallplaneError | null
}

/** All that a registry holds. */
export interface RegistryParts {
  queries: ReadonlyMap<string, Registered>
  own: ReadonlyMap<string, Readonly<OwnRelation>>
  future: FutureChanges<OwnChange>['waiting']
  reachedMs: number
}

export class Registry {
  /** Built in, and the clients' own. */
  readonly relations = new Map<string, Columns>(RELATIONS)
  nowMs = 0
  /** Commands that stay in the log, of those that made it. */
  applied = 0
  readonly #builtIn: ReadonlyMap<string, Registered>
  readonly #queries = new Map<string, Registered>()
  readonly #own = new Map<string, OwnRelation>()
  readonly #future = new FutureChanges<OwnChange>()
  #rows = 0
  /** The latest time of the commands that stay in the log: the same for whoever reads them later. */
  #reachedMs = 0

  constructor(builtIn: ReadonlyMap<string, Plan> = new Map()) {
    this.#builtIn = new Map(Array.from(builtIn, ([name, plan]) => [name, { plan, shards: 1 }]))
    for (const [name, key] of TABLES) this.#own.set(name, ofTable(name, RELATIONS.get(name) ?? new Map(), key))
  }

  get parts(): RegistryParts {
    return { queries: this.#queries, own: this.#own, future: this.#future.waiting, reachedMs: this.#reachedMs }
  }

  /** Rows that it holds, and those that are to come. */
  get size(): number {
    return this.#rows + this.#future.size
  }

  registered(name: string): Registered | null {
    return this.#queries.get(name) ?? this.#builtIn.get(name) ?? null
  }

  /** The same at every peer that has come as far. Throws where the plan cannot be divided. */
  divide({ plan, shards }: Registered): DividedPlan {
    return dividePlan(plan, { shards, relations: this.relations, isKept: (relation) => this.isOwn(relation) })
  }

  /** Whether its rows are kept here: they need not be read from tables. */
  isOwn(relation: string): boolean {
    return this.#own.has(relation)
  }

  /** When the first of the changes that were given for later times comes; null: there are none. */
  get nextMs(): number | null {
    return this.#future.nextMs
  }

  /** All rows of a client's relation, as changes that make it. */
  rowsOf(relation: string): RelationChange[] {
    const changes: RelationChange[] = []
    this.#own.get(relation)?.rows.each((row, diff) => changes.push({ relation, row, diff }))
    return changes
  }

  /** Whether the command could be applied now; throws why not. What comes before it in the log may still change that. */
  check(command: Command): void {
    if ('Register' in command) this.#toRegister(command.Register)
  }

  /** `atMs`: when it was appended. What was given for a time up to then comes first. */
  apply(command: Command, atMs: number): Applied {
    const isOfLog = isKept(command)
    if (isOfLog) this.applied++
    const changes = isOfLog ? this.reach(atMs) : []
    try {
      return { changes: [...changes, ...this.#apply(command)], error: null }
    } catch (error) {
      if (error instanceof CallplaneError) return { changes, error }
      return { changes, error: new CallplaneError('internal', 'the command could not be applied', { cause: error }) }
    }
  }

  /** What comes up to a time. A transaction that cannot be made any more is left out, whole: who sent it was answered long ago. */
  reach(atMs: number): RelationChange[] {
    this.#reachedMs = Math.max(this.#reachedMs, atMs)
    return this.#future.take(this.#reachedMs).flatMap((sent) => {
      const isPossible = sent.every(({ relation }) => !relation.isClosed) && this.#lacking(sent) === null
      return isPossible ? this.#make(sent) : []
    })
  }

  #apply(command: Command): RelationChange[] {
    if ('Register' in command) {
      this.#queries.set(command.Register.name, this.#toRegister(command.Register))
    } else if ('Unregister' in command) {
      if (!this.#queries.delete(command.Unregister.name)) throw unknown('query', command.Unregister.name)
    } else if ('CreateAttribute' in command) this.#create(command.CreateAttribute)
    else if ('CloseInput' in command) this.#open(command.CloseInput.name).isClosed = true
    else if ('Transact' in command) return this.#transact(command.Transact)
    else if ('Time' in command) this.nowMs = Math.max(this.nowMs, command.Time)
    else if ('Due' in command) this.nowMs = Math.max(this.nowMs, command.Due)
    else if ('Put' in command) return this.#write(command.Put, 1)
    else if ('Drop' in command) return this.#write(command.Drop, -1)
    return []
  }

  #toRegister({ name, plan: sent, shards = 1 }: { name: string; plan: unknown; shards?: number }): Registered {
    const { plan } = parsePlan(sent, this.relations)
    const known = this.registered(name)
    if (known !== null) {
      const isSamePlan = planText(known.plan) === planText(plan)
      if (isSamePlan && known.shards === shards) return known
      const other = isSamePlan ? `${known.shards} shards` : 'another plan'
      throw new CallplaneError(
        'conflict',
        `the query ${name} exists with ${other}: choose another name, or unregister it`,
      )
    }
    if (this.#queries.size >= MAX_NAMES) {
      throw new CallplaneError('too_many_queries', `the namespace has ${MAX_NAMES} queries: unregister some`)
    }
    if (shards > 1) this.divide({ plan, shards })
    return { plan, shards }
  }

  #create(made: Attribute): void {
    const known = this.#own.get(made.name)
    if (known !== undefined && JSON.stringify(known.made) === JSON.stringify(made) && !known.isClosed) return
    if (this.relations.has(made.name)) {
      throw new CallplaneError('conflict', `the relation ${made.name} exists: choose another name`)
    }
    if (this.#own.size >= MAX_RELATIONS) {
      throw new CallplaneError('too_many_queries', `the namespace has ${MAX_RELATIONS} relations`)
    }
    const columns: Columns = new Map(made.columns.map(({ name, type }) => [name, type]))
    if (columns.size < made.columns.length)
      throw new CallplaneError('invalid_request', `a column of ${made.name} stands twice`)
    const keyed = made.key ?? []
    if ((made.semantics === 'last_write_wins') !== keyed.length > 0) {
      throw new CallplaneError('invalid_request', `${made.name} needs a key where the last write wins, and only there`)
    }
    const places = keyed.map((column) => [...columns.keys()].indexOf(column))
    if (places.includes(-1))
      throw new CallplaneError('invalid_request', `the key of ${made.name} names no column of it`)
    this.#own.set(made.name, {
      made,
      columns,
      rows: new Bag(),
      byKey: new Map(),
      keyOf: keyAt(places),
      isClosed: false,
      isTable: false,
    })
    this.relations.set(made.name, columns)
  }

  #open(name: string): OwnRelation {
    const relation = this.#own.get(name)
    if (relation === undefined || relation.isClosed || relation.isTable) throw unknown('open relation', name)
    return relation
  }

  /** A row of a table beside the jobs. */
  #write({ relation: name, row }: { relation: string; row: unknown }, diff: 1 | -1): RelationChange[] {
    const relation = this.#own.get(name)
    if (relation === undefined || !relation.isTable) throw unknown('table', name)
    return this.#change(name, relation, parseRow(relation.columns, row, name), diff)
  }

  /** All of them or none: every row is checked before the first is taken. */
  #transact({ changes, at = 0 }: Extract<Command, { Transact: unknown }>['Transact']): RelationChange[] {
    const sent = changes.map(({ relation: name, row, diff }, place): OwnChange => {
      const relation = this.#open(name)
      return { name, relation, row: parseRow(relation.columns, row, `changes[${place}].row`), diff }
    })
    if (this.size + sent.length > MAX_ROWS) {
      throw new CallplaneError('too_many_queries', `the namespace's own relations hold ${MAX_ROWS} rows`)
    }
    if (at > this.#reachedMs + MAX_AHEAD_MS) {
      throw new CallplaneError('invalid_request', `at must be within ${MAX_AHEAD_MS / 86_400_000} days from now`)
    }
    if (at > this.#reachedMs) {
      this.#future.add(at, sent)
      return []
    }
    const lacking = this.#lacking(sent)
    if (lacking === null) return this.#make(sent)
    throw new CallplaneError('invalid_request', `${lacking} does not hold a row as often as it is to go`)
  }

  /** The relation of which rows would go that are not there. */
  #lacking(sent: readonly OwnChange[]): string | null {
    const left = new Map<string, number>()
    for (const { name, relation, row, diff } of sent) {
      if (relation.made.semantics !== undefined && relation.made.semantics !== 'raw') continue
      const key = `${name} ${keyOfRow(row)}`
      const count = (left.get(key) ?? relation.rows.count(keyOfRow(row))) + diff
      if (count < 0) return name
      left.set(key, count)
    }
    return null
  }

  #make(sent: readonly OwnChange[]): RelationChange[] {
    return sent.flatMap(({ name, relation, row, diff }) => this.#change(name, relation, row, diff))
  }

  #change(name: string, relation: OwnRelation, row: Row, diff: number): RelationChange[] {
    const changes = changesOf(relation, row, diff)
    for (const [changed, by] of changes) {
      const before = relation.rows.add(keyOfRow(changed), changed, by)
      this.#rows += (before + by === 0 ? 0 : 1) - (before === 0 ? 0 : 1)
    }
    return changes.map(([changed, by]) => ({ relation: name, row: changed, diff: by }))
  }
}

function ofTable(name: string, columns: Columns, key: readonly string[]): OwnRelation {
  const made: Attribute = { name, columns: [], semantics: 'last_write_wins', key: [...key] }
  const keyOf = keyAt(key.map((column) => [...columns.keys()].indexOf(column)))
  return { made, columns, rows: new Bag(), byKey: new Map(), keyOf, isClosed: false, isTable: true }
}

/** What a transacted row changes, by the semantics of its relation. */
function changesOf({ made, rows, byKey, keyOf }: OwnRelation, row: Row, diff: number): [Row, number][] {
  if (diff === 0) return []
  if (made.semantics === 'last_write_wins') {
    const key = keyOf(row)
    const before = byKey.get(key)
    if (diff < 0) byKey.delete(key)
    else byKey.set(key, row)
    const gone: [Row, number][] = before === undefined ? [] : [[before, -1]]
    return diff < 0 ? gone : [...gone, [row, 1]]
  }
  if (made.semantics !== 'distinct') return [[row, diff]]
  const isThere = rows.count(keyOfRow(row)) > 0
  return isThere === diff > 0 ? [] : [[row, diff > 0 ? 1 : -1]]
}

function unknown(what: string, name: string): CallplaneError {
  return new CallplaneError('not_found', `there is no ${what} ${name} in the namespace of this key`)
}
