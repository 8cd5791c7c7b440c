// One timer for many: it rings at the earliest moment that was asked for.

export class Alarm {
  readonly #ring: () => void
  #timer: ReturnType<typeof setTimeout> | undefined
  #atMs = Infinity

  constructor(ring: () => void) {
    this.#ring = ring
  }

  /** Rings at this moment of `performance.now()`, or sooner. */
  by(atMs: number): void {
    if (atMs >= this.#atMs) return
    this.clear()
    this.#atMs = atMs
    const ring = () => {
      this.clear()
      this.#ring()
    }
    this.#timer = setTimeout(ring, Math.max(0, Math.ceil(atMs - performance.now())))
  }

  clear(): void {
    clearTimeout(this.#timer)
    this.#atMs = Infinity
  }
}
