// The database of the world: the model of the statements, behind a line that fails in every way that a driver knows.
import { NO_CONNECTION, SqlError, type Row, type Sql, type SqlParam } from '../../src/db/sql.ts'
import type { Faults } from './faults.ts'
import type { Model } from './model/model.ts'
import type { Random } from './random.ts'
import type { Process, Scheduler } from './scheduler.ts'

export class Database {
  readonly model: Model
  readonly #scheduler: Scheduler
  readonly #random: Random
  /** Replaced when faults begin or stop. */
  faults: Faults['sql']
  statements = 0

  constructor(scheduler: Scheduler, random: Random, model: Model, faults: Faults['sql']) {
    this.#scheduler = scheduler
    this.#random = random
    this.model = model
    this.faults = faults
  }

  /** What a plane calls: it answers that process alone, while the statement goes its way whatever becomes of the process. */
  sqlOf(plane: Process): Sql {
    return <R extends Row>(text: string, params: readonly SqlParam[] = []): Promise<R[]> => {
      const { promise, resolve, reject } = Promise.withResolvers<R[]>()
      const answer = (rows: Row[]) => resolve(rows as R[]) // the caller's claim about its own statement: see Sql
      this.#send(plane, text, params, answer, reject)
      return promise
    }
  }

  #send(
    plane: Process,
    text: string,
    params: readonly SqlParam[],
    resolve: (rows: Row[]) => void,
    reject: (error: unknown) => void,
  ): void {
    this.statements++
    const random = this.#random
    const scheduler = this.#scheduler
    const { failBefore, loseStatement, loseAnswer, rollBack, slow } = this.faults
    const wayMs = () => random.int(...this.faults.latencyMs)
    const failIn = (ms: number, error: SqlError) => scheduler.after(ms, plane, () => reject(error))
    if (random.chance(failBefore)) return void failIn(wayMs(), new SqlError('simulated: no connection', NO_CONNECTION))
    if (random.chance(loseStatement)) return void failIn(wayMs(), new SqlError('simulated: line lost', null))
    if (random.chance(rollBack)) return void failIn(2 * wayMs(), new SqlError('simulated: rolled back', '40001'))
    const isLost = random.chance(loseAnswer)
    const gapMs = random.chance(slow) ? random.int(100, 4_000) : wayMs()
    scheduler.after(wayMs(), null, () => {
      // What it selects, it selects now; what it changes, it changes after others had their turn.
      const change = this.model.begin(text, params, scheduler.nowMs)
      scheduler.after(gapMs, null, () => {
        const rows = change()
        if (isLost) return void failIn(wayMs(), new SqlError('simulated: answer lost', null))
        scheduler.after(wayMs(), plane, () => resolve(rows))
      })
    })
  }
}
