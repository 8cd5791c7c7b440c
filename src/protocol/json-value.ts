// Values as JSON, for people and programs without the SDK (the JSON door, the dashboard): readable, and not the way back.
//
//   undefined            null; as a property of an object it is left out, as JSON does it
//   NaN, ±Infinity       null; -0 is 0
//   bigint               its decimal digits, as a string
//   Date                 ISO 8601; null when invalid
//   Map                  an object when all keys are strings, else an array of [key, value]
//   Set                  an array
//   RegExp, URL          a string
//   bytes                base64 (ArrayBuffer, DataView, Uint8Array, Uint8ClampedArray)
//   other typed arrays   an array of their numbers
//   Error                { name, message, code? }, without its stack

export function toJson(value: unknown): unknown {
  switch (typeof value) {
    case 'number':
      return Number.isFinite(value) ? value + 0 : null // -0 becomes 0, which is all that JSON has
    case 'bigint':
      return value.toString()
    case 'undefined':
      return null
    case 'object':
      return value === null ? null : objectToJson(value)
    default:
      return value
  }
}

function objectToJson(value: object): unknown {
  if (Array.isArray(value) || value instanceof Set) return Array.from(value as Iterable<unknown>, toJson) // an array is any[]
  if (value instanceof Map) return mapToJson(value)
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString()
  if (value instanceof Error) return errorToJson(value)
  if (value instanceof RegExp || value instanceof URL) return String(value)
  if (value instanceof ArrayBuffer) return base64(new Uint8Array(value))
  if (ArrayBuffer.isView(value)) return viewToJson(value)
  return entriesToJson(Object.entries(value))
}

function entriesToJson(entries: [string, unknown][]): Record<string, unknown> {
  const present = entries.filter(([, member]) => member !== undefined)
  return Object.fromEntries(present.map(([key, member]) => [key, toJson(member)]))
}

/** The key `__proto__` keeps the form of pairs: as a property it could reach a prototype wherever the JSON is copied. */
function mapToJson(map: Map<unknown, unknown>): unknown {
  const entries = [...map]
  const isObject = entries.every(
    (entry): entry is [string, unknown] => typeof entry[0] === 'string' && entry[0] !== '__proto__',
  )
  return isObject ? entriesToJson(entries) : entries.map(toJson)
}

function errorToJson(error: Error): Record<string, unknown> {
  const { name, message, code } = error as Error & { code?: unknown } // many have one; Error does not declare it
  return entriesToJson(Object.entries({ name, message, code }))
}

function viewToJson(view: ArrayBufferView): unknown {
  const isBytes = view instanceof Uint8Array || view instanceof Uint8ClampedArray || view instanceof DataView
  if (isBytes) return base64(new Uint8Array(view.buffer, view.byteOffset, view.byteLength))
  return Array.from(view as ArrayBufferView & Iterable<unknown>, toJson) // all views but DataView are iterable
}

function base64(bytes: Uint8Array): string {
  let binary = ''
  for (const byte of bytes) binary += String.fromCharCode(byte)
  return btoa(binary)
}
