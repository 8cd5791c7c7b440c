// A client of the SDK that watches every query: what it is given must add up, whatever happens to its peer.
import { Callplane, type LiveChange, type LiveRow } from 'callplane'
import { Sum, type Ledger } from './ledger.ts'
import { NAMES, textOf, textsOf } from './queries.ts'

export class SdkWatcher {
  readonly name: string
  readonly #plane: Callplane
  readonly #held = new Map<string, { tick: number; sum: Sum; rows: readonly object[] }>()
  readonly faults: string[] = []
  resets = 0
  changes = 0

  constructor({ name, url, key, ledger }: { name: string; url: string; key: string; ledger: Ledger }) {
    this.name = name
    this.#plane = new Callplane({ url, key })
    for (const query of NAMES) {
      this.#plane.live.watch(query, {
        onChange: ({ tick, rows, diffs }: LiveChange<LiveRow>) => {
          this.changes++
          const { tick: before = -1, sum = new Sum() } = this.#held.get(query) ?? {}
          if (tick <= before) this.faults.push(`${name} was given ${query} at ${tick} after ${before}`)
          for (const [row, diff] of diffs) sum.add(textOf(row), diff)
          const whole = new Sum()
          for (const row of rows) whole.add(textOf(row), 1)
          if (whole.value !== sum.value)
            this.faults.push(`${name}: the changes of ${query} are not its rows at ${tick}`)
          ledger.note(query, tick, sum.value, name)
          this.#held.set(query, { tick, sum, rows })
        },
        onReset: () => void this.resets++,
        onError: (error: unknown) => void this.faults.push(`${name} lost ${query}: ${String(error)}`),
      })
    }
  }

  get hasAll(): boolean {
    return this.#held.size === NAMES.length
  }

  rows(query: string): string[] {
    return textsOf(this.#held.get(query)?.rows ?? [])
  }

  close(): Promise<void> {
    return this.#plane.close()
  }
}
