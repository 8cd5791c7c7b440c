// What planes that share a database tell each other by: LISTEN and NOTIFY, on connections that can be lost.
import { NO_CONNECTION, SqlError } from '../../src/db/sql.ts'
import type { Channel } from '../../src/bell/shared.ts'
import type { Faults } from './faults.ts'
import type { Random } from './random.ts'
import type { Process, Scheduler } from './scheduler.ts'

interface Listener {
  process: Process
  hear: (text: string) => void
  lose: () => void
}

export class Bus {
  readonly #listeners = new Set<Listener>()
  readonly #scheduler: Scheduler
  readonly #random: Random
  readonly #faults: () => Faults['sql']

  constructor(scheduler: Scheduler, random: Random, faults: () => Faults['sql']) {
    this.#scheduler = scheduler
    this.#random = random
    this.#faults = faults
  }

  channelOf(process: Process): Channel {
    return {
      send: (text) => this.#answer(process, () => this.#tell(text)),
      listen: (hear, lose) => {
        const listener: Listener = { process, hear, lose }
        return this.#answer(process, () => {
          this.#listeners.add(listener)
          return async () => void this.#listeners.delete(listener)
        })
      },
      countListeners: () => {
        return this.#answer(process, () => [...this.#listeners].filter((one) => !one.process.isDead).length)
      },
    }
  }

  #wayMs(): number {
    return this.#random.int(...this.#faults().latencyMs)
  }

  /** Done at the database a little later, and told to the process a little later than that. */
  #answer<T>(process: Process, act: () => T): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    if (this.#random.chance(this.#faults().failBefore)) {
      this.#scheduler.after(this.#wayMs(), process, () =>
        reject(new SqlError('simulated: no connection', NO_CONNECTION)),
      )
      return promise
    }
    this.#scheduler.after(this.#wayMs(), null, () => {
      const value = act()
      this.#scheduler.after(this.#wayMs(), process, () => resolve(value))
    })
    return promise
  }

  #tell(text: string): void {
    for (const listener of this.#listeners) {
      if (listener.process.isDead) {
        this.#listeners.delete(listener)
        continue
      }
      // The connection that listens is lost, and with it what it was just to bring.
      const isLost = this.#random.chance(this.#faults().loseAnswer)
      if (isLost) this.#listeners.delete(listener)
      const happen = isLost ? () => listener.lose() : () => listener.hear(text)
      this.#scheduler.after(this.#wayMs(), listener.process, happen)
    }
  }
}
