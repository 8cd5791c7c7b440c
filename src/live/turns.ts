// A turn once a second, for as long as there is something to do: where there is nothing, no timer keeps the process awake.

const TURN_MS = 1_000

export class Turns {
  /** Says whether another turn is wanted, though nothing happens until then. */
  readonly #take: () => boolean
  #timer: ReturnType<typeof setTimeout> | undefined
  #isOver = false

  constructor(take: () => boolean) {
    this.#take = take
  }

  /** Something happened: there is a turn within a second. */
  want(): void {
    if (this.#timer !== undefined || this.#isOver) return
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      if (this.#take()) this.want()
    }, TURN_MS)
    if (typeof this.#timer === 'object') this.#timer.unref()
  }

  stop(): void {
    this.#isOver = true
    clearTimeout(this.#timer)
  }
}
