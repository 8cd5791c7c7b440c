// Commands on their way: from a client of this peer into the log, and back to it with what became of them.
import type { Sql } from '../db/sql.ts'
import type { CallplaneError } from '../protocol/errors.ts'
import { appendCommands, type Command, type Sent } from './commands.ts'
import { refusalOf } from './fault.ts'
import type { Applied } from './registry.ts'

export class CommandLine {
  readonly #sql: Sql
  readonly #namespace: string
  readonly #waiting = new Map<string, (error: Applied['error']) => void>()
  #number = 0

  constructor(sql: Sql, namespace: string) {
    this.#sql = sql
    this.#namespace = namespace
  }

  /** Appends those that pass the check; resolves once each has been applied here: null, or why it was not. */
  async append(
    client: string,
    commands: readonly Command[],
    { check, appended }: { check: (command: Command) => void; appended: () => void },
  ): Promise<(CallplaneError | null)[]> {
    const sent: Sent[] = []
    const outcomes = commands.map(async (command): Promise<CallplaneError | null> => {
      try {
        check(command)
      } catch (error) {
        return refusalOf(error)
      }
      const number = ++this.#number
      sent.push({ number, command })
      const { promise, resolve } = Promise.withResolvers<Applied['error']>()
      this.#waiting.set(`${client} ${number}`, resolve)
      return promise
    })
    try {
      if (sent.length > 0) await appendCommands(this.#sql, this.#namespace, client, sent)
    } catch (error) {
      // Whether it committed is not known, nor does it matter: sent again, it does the same.
      for (const { number } of sent) this.#waiting.delete(`${client} ${number}`)
      throw error
    }
    appended()
    return Promise.all(outcomes)
  }

  /** The command came by the log, and was applied; what tells its client, where that is one of this peer. */
  applied(client: string, number: number, { error }: Applied): (() => void) | null {
    const key = `${client} ${number}`
    const resolve = this.#waiting.get(key)
    this.#waiting.delete(key)
    return resolve === undefined ? null : () => resolve(error)
  }

  /** None of those that wait will come by the log. */
  fail(error: CallplaneError): void {
    for (const resolve of this.#waiting.values()) resolve(error)
    this.#waiting.clear()
  }
}
