// Sums that do not depend on the order in which their terms come and go, and quotients of them that are rounded once.

/**
 * A sum of whole numbers of any size. Most stay where a number is exact; what leaves that goes into a bigint.
 */
export class ExactSum {
  #small = 0
  #big = 0n

  add(value: number | bigint, times: number): void {
    if (typeof value === 'number') {
      const product = value * times
      const sum = this.#small + product
      if (Number.isSafeInteger(product) && Number.isSafeInteger(sum)) {
        this.#small = sum
        return
      }
    }
    this.#big += BigInt(value) * BigInt(times)
  }

  /** Adds the square. */
  addSquare(value: number | bigint, times: number): void {
    const square = typeof value === 'number' ? value * value : value * value
    if (typeof square === 'number' && !Number.isSafeInteger(square)) this.add(BigInt(value) ** 2n, times)
    else this.add(square, times)
  }

  /** As a number where it is one that is exact. */
  get small(): number | null {
    if (this.#big === 0n) return this.#small
    const whole = this.value
    if (!Number.isSafeInteger(Number(whole))) return null
    this.#small = Number(whole)
    this.#big = 0n
    return this.#small
  }

  get value(): bigint {
    return this.#big + BigInt(this.#small)
  }
}

/**
 * Every float is a whole number of these units, 2^-1074. In them, sums of floats are exact: taking away what was added
 * leaves what was there, in any order. A sum of rounded steps does not, and one computed anew costs the whole group.
 */
const UNIT_BITS = 1074n
const float = new Float64Array(1)
const bits = new BigUint64Array(float.buffer)

export function unitsOf(value: number): bigint {
  float[0] = value
  const [all = 0n] = bits
  const exponent = (all >> 52n) & 0x7ffn
  const fraction = all & 0xfffffffffffffn
  const units = exponent === 0n ? fraction : (fraction | 0x10000000000000n) << (exponent - 1n)
  return value < 0 ? -units : units
}

/** The float nearest to so many units, raised to a power of them. */
export function ofUnits(units: bigint, power: 1 | 2, divisor: bigint): number {
  return quotient(units, divisor << (UNIT_BITS * BigInt(power)))
}

/** The float nearest to a quotient; ties go to the even one. */
export function quotient(dividend: bigint, divisor: bigint): number {
  if (dividend < 0n) return 0 - quotient(-dividend, divisor)
  if (dividend === 0n) return 0
  // 64 bits and more: eleven beyond a float's, of which the last stands for all that were cut off.
  const shift = bitsOf(divisor) - bitsOf(dividend) + 68
  const [top, bottom] = shift > 0 ? [dividend << BigInt(shift), divisor] : [dividend, divisor << BigInt(-shift)]
  const whole = top / bottom
  const exact = whole * bottom === top
  return scale(Number(exact ? whole : whole | 1n), -shift)
}

const bitsOf = (value: bigint): number => value.toString(16).length * 4

/** In two steps: a power of two beyond a float's range can lead to a value within it. */
function scale(value: number, exponent: number): number {
  const half = Math.trunc(exponent / 2)
  return value * 2 ** half * 2 ** (exponent - half)
}
