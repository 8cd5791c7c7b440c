// Things found by some values of a row: nested maps, so that no text is made of them, and equal values alone meet.
import type { Row, Value } from '../../protocol/relations.ts'

interface Node<T> {
  thing: T | undefined
  next: Map<Value, Node<T>> | null
}

/** `at` says where a row of another kind holds the values. */
export class RowIndex<T> {
  readonly #indices: readonly number[]
  #root: Node<T> = { thing: undefined, next: null }
  #size = 0

  constructor(indices: readonly number[]) {
    this.#indices = indices
  }

  get size(): number {
    return this.#size
  }

  get(row: Row, at: readonly number[] = this.#indices): T | undefined {
    let node: Node<T> | undefined = this.#root
    for (const index of at) node = node?.next?.get(row[index] ?? null)
    return node?.thing
  }

  set(row: Row, thing: T, at: readonly number[] = this.#indices): void {
    let node = this.#root
    for (const index of at) {
      const value = row[index] ?? null
      node.next ??= new Map()
      let next = node.next.get(value)
      if (next === undefined) node.next.set(value, (next = { thing: undefined, next: null }))
      node = next
    }
    if (node.thing === undefined) this.#size++
    node.thing = thing
  }

  delete(row: Row, at: readonly number[] = this.#indices): void {
    this.#deleteBelow(this.#root, { row, at }, 0)
  }

  /** Whether nothing is left below. */
  #deleteBelow(node: Node<T>, key: { row: Row; at: readonly number[] }, depth: number): boolean {
    const index = key.at[depth]
    if (index === undefined) {
      if (node.thing !== undefined) this.#size--
      node.thing = undefined
    } else {
      const value = key.row[index] ?? null
      const next = node.next?.get(value)
      if (next !== undefined && this.#deleteBelow(next, key, depth + 1)) node.next?.delete(value)
    }
    return node.thing === undefined && (node.next === null || node.next.size === 0)
  }

  *[Symbol.iterator](): Generator<T> {
    const walk = function* (node: Node<T>): Generator<T> {
      if (node.thing !== undefined) yield node.thing
      for (const next of node.next?.values() ?? []) yield* walk(next)
    }
    yield* walk(this.#root)
  }

  each(see: (thing: T) => void): void {
    const walk = (node: Node<T>): void => {
      if (node.thing !== undefined) see(node.thing)
      for (const next of node.next?.values() ?? []) walk(next)
    }
    walk(this.#root)
  }
}
