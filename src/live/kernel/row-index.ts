// Things found by some values of a row: nested maps, so that no text is made of them, and equal values alone meet.
import type { Row, Value } from '../../protocol/relations.ts'

interface Node<T> {
  thing: T | undefined
  next: Map<Value, Node<T>> | null
}

export class RowIndex<T> {
  readonly #indices: readonly number[]
  #root: Node<T> = { thing: undefined, next: null }

  constructor(indices: readonly number[]) {
    this.#indices = indices
  }

  get(row: Row): T | undefined {
    let node: Node<T> | undefined = this.#root
    for (const index of this.#indices) node = node?.next?.get(row[index] ?? null)
    return node?.thing
  }

  set(row: Row, thing: T): void {
    let node = this.#root
    for (const index of this.#indices) {
      const value = row[index] ?? null
      node.next ??= new Map()
      let next = node.next.get(value)
      if (next === undefined) node.next.set(value, (next = { thing: undefined, next: null }))
      node = next
    }
    node.thing = thing
  }

  delete(row: Row): void {
    this.#deleteBelow(this.#root, row, 0)
  }

  /** Whether nothing is left below. */
  #deleteBelow(node: Node<T>, row: Row, depth: number): boolean {
    const index = this.#indices[depth]
    if (index === undefined) node.thing = undefined
    else {
      const value = row[index] ?? null
      const next = node.next?.get(value)
      if (next !== undefined && this.#deleteBelow(next, row, depth + 1)) node.next?.delete(value)
    }
    return node.thing === undefined && (node.next === null || node.next.size === 0)
  }

  each(see: (thing: T) => void): void {
    const walk = (node: Node<T>): void => {
      if (node.thing !== undefined) see(node.thing)
      for (const next of node.next?.values() ?? []) walk(next)
    }
    walk(this.#root)
  }
}
