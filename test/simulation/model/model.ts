// The database of the simulation: what each statement of the control plane does, in memory, so that a million calls take
// minutes. It knows statements by their texts, and a test runs it beside Postgres and compares.
//
// A statement has two steps. The first selects, as of its `now()`; between the two, others may run to their ends; the
// second changes what still passes the guards of its update. That is what READ COMMITTED allows at worst, if row locks
// did not help: a transition that is right here owes it to its guards.
import type { Row, SqlParam } from '../../../src/db/sql.ts'
import * as calls from './calls.ts'
import * as claim from './claim.ts'
import type { ModelPlant } from './plants.ts'
import * as registry from './registry.ts'
import * as reports from './reports.ts'
import { Locks, type Run, type Statement } from './statement.ts'
import * as sweep from './sweep.ts'
import { Tables } from './tables.ts'

const STATEMENTS: readonly Statement[] = [
  ...Object.values(registry),
  ...Object.values(calls),
  ...Object.values(claim),
  reports.complete,
  reports.findEnded,
  reports.fail,
  reports.heartbeat,
  ...Object.values(sweep),
]

export interface ModelOptions {
  epochMs: number
  random: () => number
  uuid: () => string
  /** Whether rows selected `for update skip locked` are passed over by others until the statement ends. */
  hasLocks: boolean
  plants?: ReadonlySet<ModelPlant>
}

export class Model {
  readonly tables = new Tables()
  /** Told of each statement before its second step. */
  onBegin: (name: string, params: readonly SqlParam[], nowMs: number) => void = () => {}
  /** Told of each statement as it commits, with what it was given and what it answers. */
  onCommit: (name: string, params: readonly SqlParam[], rows: readonly Row[]) => void = () => {}
  readonly #known = new Map<string, Statement>()
  readonly #options: Required<ModelOptions>
  readonly #locks: Locks

  constructor({ plants = new Set(), ...options }: ModelOptions) {
    this.#options = { ...options, plants }
    this.#locks = new Locks(options.hasLocks)
  }

  /** The first step of a statement; what it returns is the second. */
  begin(text: string, params: readonly SqlParam[], nowMs: number): () => Row[] {
    const { epochMs, random, uuid, plants } = this.#options
    const statement = this.#statementOf(text)
    const run: Run = {
      tables: this.tables,
      nowMs,
      epochMs,
      params,
      random,
      uuid,
      locks: this.#locks,
      has: (plant) => plants.has(plant),
    }
    const change = statement.begin(run)
    return () => {
      this.onBegin(statement.name, params, nowMs)
      this.tables.nowMs = nowMs
      const rows = change()
      this.onCommit(statement.name, params, rows)
      return rows
    }
  }

  #statementOf(text: string): Statement {
    const known = this.#known.get(text)
    if (known !== undefined) return known
    const found = STATEMENTS.filter(({ marks }) => marks.every((mark) => text.includes(mark)))
    const [statement] = found
    if (statement === undefined || found.length > 1) {
      const names = found.map(({ name }) => name).join(' and ') || 'none'
      throw new Error(
        `the model of the statements must know this text by its marks as one, and knows ${names}: teach it in ` +
          `test/simulation/model, and the differential test compares it with Postgres\n${text}`,
      )
    }
    this.#known.set(text, statement)
    return statement
  }
}
