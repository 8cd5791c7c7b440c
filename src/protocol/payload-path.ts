// How a place inside a value is written in a message: as the JavaScript that reads it, `args[1].items[3].fn`.

export type Key = string | number | symbol

/** Members of a Map are numbered key, value, key, value …, those of a Set one by one. */
export function pathOf(root: string, holders: readonly unknown[], keys: readonly (Key | undefined)[]): string {
  return root + holders.map((holder, i) => stepOf(holder, keys[i])).join('')
}

/** Nothing where a container is refused before any of its members was read. */
function stepOf(holder: unknown, key: Key | undefined): string {
  if (key === undefined) return ''
  if (typeof key === 'symbol') return `[${String(key)}]`
  if (typeof key === 'string') return propertyStep(key)
  try {
    if (holder instanceof Map) return mapStep(holder, key)
    if (holder instanceof Set) return `.values()[${key}]`
  } catch {
    // A proxy may refuse even to say what it is.
  }
  return `[${key}]`
}

function propertyStep(key: string): string {
  return /^[A-Za-z_$][\w$]{0,79}$/.test(key) ? `.${key}` : `[${quoted(key)}]`
}

function mapStep(map: Map<unknown, unknown>, index: number): string {
  const entry = index >> 1
  if (index % 2 === 0) return `.keys()[${entry}]`
  const key = [...map.keys()][entry]
  if (typeof key === 'string') return `.get(${quoted(key)})`
  return typeof key === 'number' || typeof key === 'boolean' ? `.get(${key})` : `.values()[${entry}]`
}

/** Cut, so that a key of megabytes does not fill a log. */
function quoted(key: string): string {
  return JSON.stringify(key.length > 80 ? `${key.slice(0, 79)}…` : key)
}
