// The clients' own relation of a run: its rows change all the while, by whichever peer is there.
import { pause } from '../stage.ts'
import { FUNCTIONS, OWNERS } from './queries.ts'
import type { Watcher } from './watcher.ts'

const NAMES = ['ada', 'bob', 'eve'] as const
const EVERY_MS = 500

export class Owners {
  /** By function, as the peers have acknowledged it. */
  readonly held = new Map<string, string>()
  readonly #client: Watcher
  readonly #over = new AbortController()
  #changing: Promise<void> = Promise.resolve()

  private constructor(client: Watcher) {
    this.#client = client
  }

  static async begin(client: Watcher): Promise<Owners> {
    const columns = Object.entries(OWNERS.columns).map(([name, type]) => ({ name, type }))
    await client.ask('CreateAttribute', { name: OWNERS.name, columns, ...OWNERS.options })
    const owners = new Owners(client)
    for (const name of FUNCTIONS) await owners.#give(name, 'ada')
    owners.#changing = owners.#change()
    return owners
  }

  async stop(): Promise<void> {
    this.#over.abort()
    await this.#changing
  }

  async #change(): Promise<void> {
    for (let turn = 0; !this.#over.signal.aborted; turn++) {
      await this.#give(FUNCTIONS[turn % FUNCTIONS.length] ?? '', NAMES[turn % NAMES.length] ?? '')
      await pause(EVERY_MS)
    }
  }

  /** One after the other, so that the last acknowledged is the last in the log: a repeat says the same. */
  async #give(name: string, owner: string): Promise<void> {
    await this.#client.ask('Transact', { changes: [{ relation: OWNERS.name, row: { function: name, owner } }] })
    this.held.set(name, owner)
  }
}
