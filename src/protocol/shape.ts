// Shapes: one description of a message gives its parser, its TypeScript type and its JSON Schema in the served OpenAPI.
import { CallplaneError } from './errors.ts'
import { NAME_PATTERN, checkName } from './names.ts'

/** JSON Schema, as far as the shapes use it. `format: 'binary'` stands for msgpack's bin. */
export interface JsonSchema {
  type?: 'object' | 'array' | 'string' | 'integer' | 'number' | 'boolean' | 'null'
  description?: string
  properties?: Record<string, JsonSchema>
  required?: string[]
  additionalProperties?: boolean
  items?: JsonSchema
  anyOf?: JsonSchema[]
  enum?: string[]
  const?: boolean | string
  format?: string
  pattern?: string
  minimum?: number
  maximum?: number
  minItems?: number
  maxItems?: number
  minLength?: number
  maxLength?: number
}

export interface Shape<T> {
  /** Returns the value as a T of its own, or throws `invalid_request` (or a more exact code) naming the path. */
  parse(value: unknown, path: string): T
  schema: JsonSchema
}

/** The type that a shape parses. */
export type TypeOf<S> = S extends Shape<infer T> ? T : never

/** A property that may be absent; `undefined` and `null` count as absent. */
export interface OptionalShape<T> extends Shape<T> {
  isOptional: true
}

type Properties = Record<string, Shape<unknown>>
type OptionalKeys<P extends Properties> = { [K in keyof P]: P[K] extends OptionalShape<unknown> ? K : never }[keyof P]
type Flat<T> = { [K in keyof T]: T[K] }
type ObjectOf<P extends Properties> = Flat<
  { [K in Exclude<keyof P, OptionalKeys<P>>]: TypeOf<P[K]> } & { [K in OptionalKeys<P>]?: TypeOf<P[K]> }
>

function refuse(path: string, wanted: string, value: unknown): never {
  throw new CallplaneError('invalid_request', `${path} must be ${wanted}, not ${nameOf(value)}`)
}

function nameOf(value: unknown): string {
  if (value === null || value === undefined) return 'missing'
  if (Array.isArray(value)) return `an array of ${value.length}`
  if (value instanceof Uint8Array) return `${value.length} bytes`
  if (typeof value === 'string') return value.length > 40 ? 'a longer string' : JSON.stringify(value)
  return typeof value === 'object' ? 'an object' : String(value)
}

/** A request's object. A field that is not understood is refused: an option must never be dropped in silence. */
export function object<P extends Properties>(properties: P): Shape<ObjectOf<P>> {
  return objectShape(properties, false)
}

/** An answer's object. Fields of a newer plane pass unread, so that an older SDK goes on working. */
export function answer<P extends Properties>(properties: P): Shape<ObjectOf<P>> {
  return objectShape(properties, true)
}

function objectShape<P extends Properties>(properties: P, isOpen: boolean): Shape<ObjectOf<P>> {
  const entries = Object.entries(properties)
  const isOptional = (shape: Shape<unknown>) => 'isOptional' in shape
  return {
    parse(value, path) {
      if (typeof value !== 'object' || value === null || Array.isArray(value) || value instanceof Uint8Array) {
        refuse(path, 'an object', value)
      }
      for (const key of Object.keys(value)) {
        if (!isOpen && !Object.hasOwn(properties, key)) {
          throw new CallplaneError('invalid_request', `${path}.${key.slice(0, 80)} is not a field of this request`)
        }
      }
      const parsed: Record<string, unknown> = {}
      for (const [key, shape] of entries) {
        const item = Object.hasOwn(value, key) ? (value as Record<string, unknown>)[key] : undefined // an own key of an object
        if (isOptional(shape) && (item === undefined || item === null)) continue
        parsed[key] = shape.parse(item, `${path}.${key}`)
      }
      return parsed as ObjectOf<P> // each property was parsed by its own shape just above
    },
    schema: {
      type: 'object',
      properties: Object.fromEntries(entries.map(([key, shape]) => [key, shape.schema])),
      required: entries.filter(([, shape]) => !isOptional(shape)).map(([key]) => key),
      additionalProperties: isOpen,
    },
  }
}

export function optional<T>(shape: Shape<T>): OptionalShape<T> {
  return { ...shape, isOptional: true }
}

export function array<T>(
  item: Shape<T>,
  { min = 0, max, description }: { min?: number; max: number; description?: string },
): Shape<T[]> {
  return {
    parse(value, path) {
      if (!Array.isArray(value)) refuse(path, 'an array', value)
      if (value.length < min || value.length > max) {
        throw new CallplaneError('invalid_request', `${path} must hold ${min} to ${max} items, not ${value.length}`)
      }
      return value.map((entry, index) => item.parse(entry, `${path}[${index}]`))
    },
    schema: {
      type: 'array',
      items: item.schema,
      ...(min > 0 ? { minItems: min } : {}),
      maxItems: max,
      ...(description === undefined ? {} : { description }),
    },
  }
}

export function string({ max, description }: { max: number; description?: string }): Shape<string> {
  return {
    parse(value, path) {
      if (typeof value !== 'string' || value.length > max) refuse(path, `a string of at most ${max} characters`, value)
      // Postgres text cannot hold NUL; refused here, it is the sender's error and not the database's.
      if (value.includes('\0'))
        throw new CallplaneError('invalid_request', `${path} must not hold the character U+0000`)
      return value
    },
    schema: { type: 'string', maxLength: max, ...(description === undefined ? {} : { description }) },
  }
}

export function name(kind: 'service' | 'function' | 'namespace'): Shape<string> {
  return {
    parse(value) {
      checkName(kind, value)
      return value
    },
    schema: { type: 'string', pattern: NAME_PATTERN.source },
  }
}

export function integer({ min, max, description }: { min: number; max: number; description?: string }): Shape<number> {
  return {
    parse(value, path) {
      if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
        refuse(path, `a whole number from ${min} to ${max}`, value)
      }
      return value
    },
    schema: { type: 'integer', minimum: min, maximum: max, ...(description === undefined ? {} : { description }) },
  }
}

export function number({ min, max }: { min: number; max: number }): Shape<number> {
  return {
    parse(value, path) {
      if (typeof value !== 'number' || !(value >= min && value <= max))
        refuse(path, `a number from ${min} to ${max}`, value)
      return value
    },
    schema: { type: 'number', minimum: min, maximum: max },
  }
}

export function boolean(): Shape<boolean> {
  return {
    parse(value, path) {
      if (typeof value !== 'boolean') refuse(path, 'true or false', value)
      return value
    },
    schema: { type: 'boolean' },
  }
}

export function oneOf<const T extends string>(values: readonly T[]): Shape<T> {
  return {
    parse(value, path) {
      const found = values.find((known) => known === value)
      return found ?? refuse(path, `one of ${values.join(', ')}`, value)
    },
    schema: { type: 'string', enum: [...values] },
  }
}

/** Opaque bytes up to `max`; more is `payload_too_large`, naming both sizes. */
export function bytes({
  max,
  exactly,
  description,
}: {
  max: number
  exactly?: number
  description?: string
}): Shape<Uint8Array> {
  return {
    parse(value, path) {
      if (!(value instanceof Uint8Array)) refuse(path, 'bytes', value)
      if (exactly !== undefined && value.length !== exactly) refuse(path, `${exactly} bytes`, value)
      if (value.length > max) {
        throw new CallplaneError(
          'payload_too_large',
          `${path} has ${value.length} bytes and may have ${max}: send a reference to the data instead`,
        )
      }
      return value
    },
    schema: {
      type: 'string',
      format: 'binary',
      ...(exactly === undefined ? {} : { minLength: exactly }),
      maxLength: max,
      ...(description === undefined ? {} : { description }),
    },
  }
}

const UUID_PATTERN = /^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

/** A UUID in lower case with dashes. */
export function uuid(description?: string): Shape<string> {
  return {
    parse(value, path) {
      if (typeof value !== 'string' || !UUID_PATTERN.test(value)) refuse(path, 'a UUID in lower case', value)
      return value
    },
    schema: { type: 'string', format: 'uuid', ...(description === undefined ? {} : { description }) },
  }
}

/** Tells objects apart by the value of their field `tag`. */
export function variant<const K extends string, V extends Record<string, Shape<object>>>(
  tag: K,
  variants: V,
): Shape<{ [N in keyof V & string]: Flat<{ [P in K]: N } & TypeOf<V[N]>> }[keyof V & string]> {
  const names = Object.keys(variants)
  return {
    parse(value, path) {
      if (typeof value !== 'object' || value === null) refuse(path, 'an object', value)
      const { [tag]: chosen, ...rest } = value as Record<string, unknown> // any object has string keys
      const shape = typeof chosen === 'string' && Object.hasOwn(variants, chosen) ? variants[chosen] : undefined
      if (shape === undefined) refuse(`${path}.${tag}`, `one of ${names.join(', ')}`, chosen)
      return { [tag]: chosen, ...shape.parse(rest, path) } as never // tag and shape were matched just above
    },
    schema: {
      anyOf: names.map((variantName) => {
        const inner = variants[variantName]?.schema ?? {}
        return {
          ...inner,
          properties: { [tag]: { type: 'string', const: variantName }, ...inner.properties },
          required: [tag, ...(inner.required ?? [])],
        }
      }),
    },
  }
}

/** Anything at all, for answers that carry decoded values as JSON. */
export function anything(description: string): Shape<unknown> {
  return { parse: (value) => value, schema: { description } }
}
