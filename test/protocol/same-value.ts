// Equality stricter than vitest's: -0 is not 0, absent is not undefined, and every prototype and every kind of view counts.

export function isSame(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false
  if (Array.isArray(a)) return Array.isArray(b) && a.length === b.length && haveSameMembers(a, b)
  if (a instanceof Map && b instanceof Map) return areSameLists([...a].flat(), [...b].flat())
  if (a instanceof Set && b instanceof Set) return areSameLists([...a], [...b])
  if (a instanceof Date && b instanceof Date) return Object.is(a.getTime(), b.getTime())
  if (a instanceof RegExp || a instanceof URL) return String(a) === String(b)
  if (a instanceof ArrayBuffer && b instanceof ArrayBuffer) return areSameBytes(new Uint8Array(a), new Uint8Array(b))
  if (ArrayBuffer.isView(a) && ArrayBuffer.isView(b)) return areSameBytes(bytesOf(a), bytesOf(b))
  if (a instanceof Error && b instanceof Error) return areSameErrors(a, b)
  return haveSameMembers(a, b)
}

/** Enumerable own members, in the same order. */
function haveSameMembers(a: object, b: object): boolean {
  const keys = Object.keys(a)
  if (!areSameLists(keys, Object.keys(b))) return false
  return keys.every((key) => isSame(memberOf(a, key), memberOf(b, key)))
}

function areSameErrors(a: Error, b: Error): boolean {
  const hidden = ['name', 'message', 'stack', 'cause', 'code', 'errors']
  const isHiddenSame = hidden.every((key) => key in a === key in b && isSame(memberOf(a, key), memberOf(b, key)))
  return isHiddenSame && haveSameMembers(a, b)
}

function memberOf(object: object, key: string): unknown {
  return (object as Record<string, unknown>)[key] // any object may be asked for any key
}

function areSameLists(a: unknown[], b: unknown[]): boolean {
  return a.length === b.length && a.every((item, i) => isSame(item, b[i]))
}

function areSameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}

function bytesOf(view: ArrayBufferView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength)
}
