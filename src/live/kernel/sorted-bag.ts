// A sorted multiset in buckets: adding costs a binary search and a short move, and the first, the last and any rank are near.
import type { Compare } from './values.ts'

/** Splitting at 256 keeps a move within a few cache lines, and the list of the buckets of a million values at some 8,000. */
const MAX_BUCKET = 256

interface Bucket<T> {
  values: T[]
  counts: number[]
  total: number
}

export class SortedBag<T> {
  readonly #compare: Compare<T>
  readonly #buckets: Bucket<T>[] = []
  #size = 0
  #total = 0

  constructor(compare: Compare<T>) {
    this.#compare = compare
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
    const at = this.#bucketFor(value)
    const bucket = this.#buckets[at]
    if (bucket === undefined) {
      this.#buckets.push({ values: [value], counts: [diff], total: diff })
      this.#size++
      return
    }
    bucket.total += diff
    const place = this.#placeIn(bucket, value)
    const found = bucket.values[place]
    if (found === undefined || this.#compare(found, value) !== 0) {
      bucket.values.splice(place, 0, value)
      bucket.counts.splice(place, 0, diff)
      this.#size++
      if (bucket.values.length > MAX_BUCKET) this.#split(at, bucket)
      return
    }
    const count = (bucket.counts[place] ?? 0) + diff
    bucket.counts[place] = count
    if (count !== 0) return
    bucket.values.splice(place, 1)
    bucket.counts.splice(place, 1)
    this.#size--
    if (bucket.values.length === 0) this.#buckets.splice(at, 1)
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

  /** The first bucket whose last value is not below; the last one where all are. */
  #bucketFor(value: T): number {
    let [low, high] = [0, this.#buckets.length - 1]
    while (low < high) {
      const middle = (low + high) >> 1
      const values = this.#buckets[middle]?.values ?? []
      const last = values[values.length - 1]
      if (last !== undefined && this.#compare(last, value) < 0) low = middle + 1
      else high = middle
    }
    return low
  }

  #placeIn({ values }: Bucket<T>, value: T): number {
    let [low, high] = [0, values.length]
    while (low < high) {
      const middle = (low + high) >> 1
      const found = values[middle]
      if (found !== undefined && this.#compare(found, value) < 0) low = middle + 1
      else high = middle
    }
    return low
  }

  #split(at: number, bucket: Bucket<T>): void {
    const values = bucket.values.splice(MAX_BUCKET / 2)
    const counts = bucket.counts.splice(MAX_BUCKET / 2)
    const total = counts.reduce((sum, count) => sum + count, 0)
    bucket.total -= total
    this.#buckets.splice(at + 1, 0, { values, counts, total })
  }
}
