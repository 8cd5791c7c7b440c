// Group commit: transitions of many requests that come together share a statement, and with it one wait for the disk.
import { isOutcomeUnknown, isTransient } from '../db/sql.ts'

/** A transition of many items of one namespace, one statement. The results are in the order of the items. */
export type Transition<Item, Result> = (namespace: string, items: readonly Item[]) => Promise<Result[]>

export interface GroupOptions<Item> {
  /** What the item is about. Two items about the same are never in one statement: each must see what the other did. */
  keyOf: (item: Item) => string
  /** What an item adds to the size of its statement. */
  bytesOf: (item: Item) => number
  /** Statements of one namespace at once. Default 2: while one waits for the disk, the next is computed. */
  running?: number
  /** Calls back once the requests that came with this one are here too. Default: at the end of the microtask. */
  defer?: (run: () => void) => void
}

/** Bounds what one statement holds in memory, here and in the database. */
const MAX_ITEMS = 500
const MAX_BYTES = 4 * 1024 * 1024

interface Asked<Item, Result> extends PromiseWithResolvers<Result[]> {
  items: readonly Item[]
  bytes: number
}

/**
 * The same transition, for requests that come together. One that comes alone runs at once; those that come while
 * statements are under way wait for the next, together. What a request asks for is never split.
 */
export function grouped<Item, Result>(
  run: Transition<Item, Result>,
  { keyOf, bytesOf, running = 2, defer = queueMicrotask }: GroupOptions<Item>,
): Transition<Item, Result> {
  const lines = new Map<string, { waiting: Asked<Item, Result>[]; running: number; isDue: boolean }>()

  function pump(namespace: string): void {
    const line = lines.get(namespace)
    if (line === undefined) return
    line.isDue = false
    while (line.running < running && line.waiting.length > 0) {
      line.running++
      void runGroup(namespace, nextGroup(line.waiting, keyOf)).then(() => {
        line.running--
        if (line.running === 0 && line.waiting.length === 0) lines.delete(namespace)
        else pump(namespace)
      })
    }
  }

  /** Never rejects. */
  async function runGroup(namespace: string, group: Asked<Item, Result>[]): Promise<void> {
    try {
      const results = await run(
        namespace,
        group.flatMap(({ items }) => items),
      )
      let from = 0
      for (const { items, resolve } of group) resolve(results.slice(from, (from += items.length)))
    } catch (error) {
      // What the database refused may be the fault of one of them: alone, the others pass. Where it did not answer, each
      // asker decides whether to ask again.
      if (group.length === 1 || isTransient(error) || isOutcomeUnknown(error))
        for (const one of group) one.reject(error)
      else for (const one of group) await run(namespace, one.items).then(one.resolve, one.reject)
    }
  }

  return (namespace, items) => {
    if (items.length === 0) return Promise.resolve([])
    const line = lines.get(namespace) ?? { waiting: [], running: 0, isDue: false }
    lines.set(namespace, line)
    const asked = { ...Promise.withResolvers<Result[]>(), items, bytes: sum(items, bytesOf) }
    line.waiting.push(asked)
    if (!line.isDue && line.running < running) {
      line.isDue = true
      defer(() => pump(namespace))
    }
    return asked.promise
  }
}

/** Takes from the front what fits into one statement; the first whatever its size. */
function nextGroup<Item, One extends { items: readonly Item[]; bytes: number }>(
  waiting: One[],
  keyOf: (item: Item) => string,
): One[] {
  const keys = new Set<string>()
  let items = 0
  let bytes = 0
  let count = 0
  for (const one of waiting) {
    const own = one.items.map(keyOf)
    items += one.items.length
    bytes += one.bytes
    if (count > 0 && (items > MAX_ITEMS || bytes > MAX_BYTES || own.some((key) => keys.has(key)))) break
    for (const key of own) keys.add(key)
    count++
  }
  return waiting.splice(0, count)
}

function sum<Item>(items: readonly Item[], of: (item: Item) => number): number {
  return items.reduce((total, item) => total + of(item), 0)
}
