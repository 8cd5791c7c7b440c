// The buckets of p50, p95 and p99: whole numbers that agree in their first eight binary digits.

/** Numbers below it have a bucket each. A bucket above is as wide as a 128th of its least number. */
const EXACT_BELOW = 256

/** The greatest number of the bucket of a whole number. */
export function bucketBound(value: number): number {
  return value < 0 ? 0 - leastOf(-value) : greatestOf(value)
}

function widthOf(value: number): number {
  let width = 1
  for (let rest = value; rest >= EXACT_BELOW; rest /= 2) width *= 2
  return width
}

const leastOf = (value: number): number => value - (value % widthOf(value))

/** The last bucket ends where whole numbers cease to be exact. */
const greatestOf = (value: number): number => leastOf(value) + (widthOf(value) - 1)
