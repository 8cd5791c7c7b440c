// What every client held at every tick, as a number: two that disagree about one tick of a query were told different things.

/** So many pairs of ticks and queries: hours of a run. */
const MAX_NOTES = 5_000_000

/** The sum of what each row comes to: the same whatever came first. */
export class Sum {
  #low = 0
  #high = 0

  add(text: string, count: number): void {
    let [low, high] = [0x811c9dc5, 0x9747b28c]
    for (let at = 0; at < text.length; at++) {
      const code = text.charCodeAt(at)
      low = Math.imul(low ^ code, 0x01000193)
      high = Math.imul(high ^ code, 0x5bd1e995) ^ (high >>> 15)
    }
    this.#low = (this.#low + Math.imul(low ^ (high >>> 13), count)) | 0
    this.#high = (this.#high + Math.imul(high, count)) | 0
  }

  get value(): string {
    return `${this.#high} ${this.#low}`
  }
}

export class Ledger {
  readonly #notes = new Map<string, { sum: string; who: string }>()
  readonly disagreements: string[] = []
  /** How often somebody confirmed what another had noted. */
  confirmed = 0

  /** A client holds this of a query, having been told of all up to a tick. */
  note(query: string, tick: number, sum: string, who: string): void {
    const key = `${query} at ${tick}`
    const known = this.#notes.get(key)
    if (known === undefined) {
      if (this.#notes.size < MAX_NOTES) this.#notes.set(key, { sum, who })
    } else if (known.sum === sum) this.confirmed++
    else this.disagreements.push(`${key}, ${who} holds other rows than ${known.who}`)
  }
}
