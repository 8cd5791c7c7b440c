// What a value of the user's is, told without trusting its class, and what it consists of.
import { isEnumerable } from './error-classes.ts'

/** The name of its very class: a Map is a `Map`, an instance of a subclass is not. Works across realms. */
export function classNameOf(value: object): string {
  const prototype: { constructor?: { name?: unknown } } | null = Object.getPrototypeOf(value)
  const name = prototype?.constructor?.name
  return typeof name === 'string' && name !== '' ? name : Object.prototype.toString.call(value).slice(8, -1)
}

/** Whether it is what that name promises, and no class of the user's that only has the name. */
export function isBuiltIn(value: object, className: string): boolean {
  return Object.prototype.toString.call(value) === `[object ${className}]`
}

/** `{}`, of this realm or another, and what has no prototype. */
export function isPlain(value: object): boolean {
  const prototype: object | null = Object.getPrototypeOf(value)
  if (prototype === Object.prototype || prototype === null) return true
  return Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype, 'isPrototypeOf')
}

export function enumerableSymbols(object: object): symbol[] {
  const symbols = Object.getOwnPropertySymbols(object)
  return symbols.length === 0 ? symbols : symbols.filter((symbol) => isEnumerable(object, symbol))
}

// Prototype methods: they work on objects of another realm, and no property of the value's own can stand in for them.

export function partsOfMap(value: object): unknown[] {
  const parts: unknown[] = []
  Map.prototype.forEach.call(value, (member: unknown, key: unknown) => parts.push(key, member))
  return parts
}

export function partsOfSet(value: object): unknown[] {
  const parts: unknown[] = []
  Set.prototype.forEach.call(value, (member: unknown) => parts.push(member))
  return parts
}

export function bytesOf(value: object, kind: string): Uint8Array | null {
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
  return kind === 'ArrayBuffer' ? new Uint8Array(ArrayBuffer.prototype.slice.call(value, 0)) : null
}
