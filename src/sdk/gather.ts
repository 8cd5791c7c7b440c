// Collecting what one tick brings, so that it shares a request.

/** Returns a function that collects items, and hands over all those of one tick together. */
export function gatherer<T>(flush: (items: T[]) => void): (item: T) => void {
  let items: T[] = []
  return (item) => {
    if (items.push(item) > 1) return
    queueMicrotask(() => {
      const gathered = items
      items = []
      flush(gathered)
    })
  }
}
