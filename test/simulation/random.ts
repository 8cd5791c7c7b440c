// One seeded stream of numbers for a whole run: whatever chance decides is decided here, in the order that it is asked.

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))

/** Small, fast and good enough for schedules (sfc32 by Chris Doty-Humphrey). Not for secrets. */
export class Random {
  #a = 0x9e3779b9
  #b = 0x243f6a88
  #c: number
  #counter = 1

  constructor(seed: number) {
    this.#c = seed | 0
    for (let round = 0; round < 15; round++) this.next()
  }

  /** From 0 up to, and without, 1. */
  next(): number {
    return this.#word() / 4_294_967_296
  }

  /** A whole number from `min` to `max`, both included. */
  int(min: number, max: number): number {
    return min + Math.floor(this.next() * (max - min + 1))
  }

  chance(probability: number): boolean {
    return probability > 0 && this.next() < probability
  }

  pick<T>(items: readonly T[]): T {
    const item = items[Math.floor(this.next() * items.length)]
    if (item === undefined) throw new RangeError('there is nothing to pick from')
    return item
  }

  fillBytes(bytes: Uint8Array): void {
    for (let index = 0; index < bytes.length; index++) bytes[index] = this.#word() & 0xff
  }

  /** A UUID of version 4. */
  uuid(): string {
    let text = ''
    for (let word = 0; word < 4; word++) {
      const bits = this.#word()
      for (let shift = 24; shift >= 0; shift -= 8) text += HEX[(bits >>> shift) & 0xff]
    }
    const variant = '89ab'.charAt(Number.parseInt(text.charAt(16), 16) & 3)
    return `${text.slice(0, 8)}-${text.slice(8, 12)}-4${text.slice(13, 16)}-${variant}${text.slice(17, 20)}-${text.slice(20)}`
  }

  #word(): number {
    const sum = (this.#a + this.#b + this.#counter++) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum
    return sum >>> 0
  }
}
