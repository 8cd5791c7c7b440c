// A sorted multiset in buckets: adding costs a binary search and a short move, and the first, the last and any rank are near.
import type { Compare } from './values.ts'

/** Splitting at 128 keeps a move within a few cache lines, and the list of the buckets of a million values at some 16,000. */
const MAX_BUCKET = 128

interface Bucket<T> {
  values: T[]
  ranks: number[]
  counts: number[]
  total: number
}

/**
 * An order, and a number that never contradicts it: of two values, one with a lower rank comes first. The search reads
 * ranks, which lie side by side in memory, and looks at values only where these are equal.
 */
export interface Order<T> {
  compare: Compare<T>
  rank: (value: T) => number
}

export class SortedBag<T> {
  readonly #order: Order<T>
  readonly #buckets: Bucket<T>[] = []
  /** The rank of the last value of each bucket. */
  readonly #lastRanks: number[] = []
  #size = 0
  #total = 0

  constructor(order: Order<T>) {
    this.#order = order
  }

  /** Different values. */
  get size(): number {
    return this.#size
  }

  /** Values, each as often as it is there. */
  get total(): number {
    return this.#total
  }

  add(value: T, diff: number): void {
    this.#total += diff
    const rank = this.#order.rank(value)
    const at = this.#bucketFor(value, rank)
    const bucket = this.#buckets[at]
    if (bucket === undefined) {
      this.#buckets.push({ values: [value], ranks: [rank], counts: [diff], total: diff })
      this.#lastRanks.push(rank)
      this.#size++
      return
    }
    bucket.total += diff
    const place = this.#placeIn(bucket, value, rank)
    const found = bucket.values[place]
    if (found === undefined || bucket.ranks[place] !== rank || this.#order.compare(found, value) !== 0) {
      bucket.values.splice(place, 0, value)
      bucket.ranks.splice(place, 0, rank)
      bucket.counts.splice(place, 0, diff)
      this.#size++
      if (bucket.values.length > MAX_BUCKET) this.#split(at, bucket)
      else this.#noteLast(at, bucket)
      return
    }
    const count = (bucket.counts[place] ?? 0) + diff
    bucket.counts[place] = count
    if (count !== 0) return
    bucket.values.splice(place, 1)
    bucket.ranks.splice(place, 1)
    bucket.counts.splice(place, 1)
    this.#size--
    if (bucket.values.length > 0) return this.#noteLast(at, bucket)
    this.#buckets.splice(at, 1)
    this.#lastRanks.splice(at, 1)
  }

  *[Symbol.iterator](): Generator<T> {
    for (const { values } of this.#buckets) yield* values
  }

  /** In order, until `see` answers false. */
  each(see: (value: T, count: number) => boolean): void {
    for (const { values, counts } of this.#buckets) {
      for (let i = 0; i < values.length; i++) {
        const value = values[i]
        if (value !== undefined && !see(value, counts[i] ?? 0)) return
      }
    }
  }

  first(): T | undefined {
    return this.#buckets[0]?.values[0]
  }

  last(): T | undefined {
    return this.#buckets.at(-1)?.values.at(-1)
  }

  /** The value at a rank that begins with 1. */
  atRank(rank: number): T | undefined {
    let left = rank
    for (const { values, counts, total } of this.#buckets) {
      if (left > total) {
        left -= total
        continue
      }
      for (let i = 0; i < values.length; i++) {
        left -= counts[i] ?? 0
        if (left <= 0) return values[i]
      }
    }
    return undefined
  }

  #noteLast(at: number, { ranks }: Bucket<T>): void {
    this.#lastRanks[at] = ranks[ranks.length - 1] ?? 0
  }

  /** The first bucket whose last value is not below; the last one where all are. */
  #bucketFor(value: T, rank: number): number {
    let [low, high] = [0, this.#buckets.length - 1]
    while (low < high) {
      const middle = (low + high) >> 1
      const lastRank = this.#lastRanks[middle] ?? 0
      if (lastRank < rank || (lastRank === rank && this.#isBelow(this.#buckets[middle]?.values.at(-1), value))) {
        low = middle + 1
      } else high = middle
    }
    return low
  }

  #placeIn({ values, ranks }: Bucket<T>, value: T, rank: number): number {
    let [low, high] = [0, values.length]
    while (low < high) {
      const middle = (low + high) >> 1
      const found = ranks[middle] ?? 0
      if (found < rank || (found === rank && this.#isBelow(values[middle], value))) low = middle + 1
      else high = middle
    }
    return low
  }

  #isBelow(found: T | undefined, value: T): boolean {
    return found !== undefined && this.#order.compare(found, value) < 0
  }

  #split(at: number, bucket: Bucket<T>): void {
    const values = bucket.values.splice(MAX_BUCKET / 2)
    const ranks = bucket.ranks.splice(MAX_BUCKET / 2)
    const counts = bucket.counts.splice(MAX_BUCKET / 2)
    const total = counts.reduce((sum, count) => sum + count, 0)
    bucket.total -= total
    const next = { values, ranks, counts, total }
    this.#buckets.splice(at + 1, 0, next)
    this.#lastRanks.splice(at + 1, 0, 0)
    this.#noteLast(at, bucket)
    this.#noteLast(at + 1, next)
  }
}
