// Holds docs/protocol.md and the served OpenAPI document to the code.
import { readFileSync } from 'node:fs'
import { runInThisContext } from 'node:vm'
import { describe, expect, test } from 'vitest'
import { inProcessBell } from '../../src/bell/in-process.ts'
import { NO_CONNECTION, SqlError, type Sql } from '../../src/db/sql.ts'
import { createApp } from '../../src/http/app.ts'
import { openApiDocument } from '../../src/http/openapi.ts'
import { argsDigest } from '../../src/protocol/digest.ts'
import { decodePayload } from '../../src/protocol/codec.ts'
import { ENDPOINTS } from '../../src/protocol/endpoints.ts'
import { ERROR_CODES, isRetryable, type ErrorCode } from '../../src/protocol/errors.ts'
import { newKey } from '../../src/protocol/keys.ts'
import * as limits from '../../src/protocol/limits.ts'
import { EXT } from '../../src/protocol/payload-format.ts'
import type { JsonSchema } from '../../src/protocol/shape.ts'
import { PAGE, renderPage } from '../support/protocol-page.ts'

const page = readFileSync(PAGE, 'utf8')
const endpoints = Object.entries(ENDPOINTS)

test('the tables of docs/protocol.md are those that the code gives', () => {
  expect(renderPage(page), 'run: node test/support/protocol-page.ts').toBe(page)
})

// From here on the page is read as a person reads it, so that a fault of the generator shows too.

describe('docs/protocol.md', () => {
  test('lists every endpoint with its method, path and scope, and no other', () => {
    const listed = rowsOf(section('All endpoints')).map(([endpoint = '', scope = '']) => `${endpoint} ${scope}`)
    const known = endpoints.map(([id, { method, path, scope }]) => {
      return `[\`${method} ${path}\`](#${id.toLowerCase()}) ${scope === null ? 'none, no key' : `\`${scope}\``}`
    })
    expect(listed).toEqual(known)
  })

  test('has a section for every endpoint, and no other', () => {
    const described = Array.from(page.matchAll(/^### (.+)$/gm), ([, title]) => title)
    expect(described).toEqual(endpoints.map(([id]) => id))
  })

  test.each(endpoints)(
    'names the method, the path and the scope of %s in its section',
    (id, { method, path, scope }) => {
      expect(section(id)).toContain(`\`${method} ${path}\`, scope ${scope === null ? 'none' : `\`${scope}\``}`)
    },
  )

  test.each(endpoints)(
    'names every field that %s reads and answers, and no other',
    (id, { request, answer, form, unfinished }) => {
      const [asked = '', answered = '', later = ''] = section(id).split(/^Answer[^\n]*:/m)
      expect(documentedFields(asked).toSorted()).toEqual(fieldsOf(request?.schema).toSorted())
      if (form === 'frames' && answered.includes('as those of')) return
      expect(documentedFields(answered).toSorted()).toEqual(fieldsOf(answer.schema).toSorted())
      expect(documentedFields(later).toSorted()).toEqual(fieldsOf(unfinished?.schema).toSorted())
    },
  )

  test('tells of every error code its status, whether a retry helps, and its meaning', () => {
    const known = Object.entries(ERROR_CODES).map(([code, { status, meaning }]) => {
      return [`\`${code}\``, String(status), isRetryable(code as ErrorCode) ? 'yes' : 'no', meaning]
    })
    expect(rowsOf(section('Errors'))).toEqual(known)
  })

  test('tells every limit with its value and a reason', () => {
    const told = rowsOf(section('Limits'))
    for (const [limit, value] of Object.entries(limits)) {
      const [, printed = '', reason = ''] = told.find(([name]) => name === `\`${limit}\``) ?? []
      const [, digits = '', unit] = /^([\d,]+)( MiB)?$/.exec(printed) ?? []
      expect(Number(digits.replaceAll(',', '')) * (unit ? 2 ** 20 : 1), limit).toBe(value)
      expect(reason.length, `the reason for ${limit}`).toBeGreaterThan(20)
    }
    expect(told).toHaveLength(Object.keys(limits).length)
  })

  test('names every extension type with its data', () => {
    const told = rowsOf(section('Payloads')).filter(([type = '']) => /^\d+$/.test(type))
    expect(told.map(([type, name]) => [Number(type), name])).toEqual(
      Object.entries(EXT).map(([name, type]) => [type, `\`${name}\``]),
    )
    for (const [, name, data = ''] of told) expect(data.length, `${name} has no layout`).toBeGreaterThan(5)
  })

  test('shows payloads that decode to the values beside them', () => {
    const examples = rowsOf(section('Payloads')).filter(([, payload = '']) => payload.startsWith('`01 '))
    expect(examples.length).toBeGreaterThan(15)
    for (const [source = '', payload = ''] of examples) {
      const value: unknown = runInThisContext(`(${source.slice(1, -1)})`)
      expect(decodePayload(fromHex(payload.slice(1, -1))), source).toEqual(value)
    }
  })

  test('has examples that the parsers of the protocol take', async () => {
    const examples = examplesOf(page)
    expect(examples.length).toBeGreaterThan(10)
    for (const { kind, id, message } of examples) {
      const endpoint = ENDPOINTS[id]
      const shape = kind === 'request' ? endpoint?.request : endpoint?.answer
      expect(shape?.parse(message, id), `${kind} ${id}`).toEqual(message)
    }
  })

  test('has the digest that belongs to the arguments of its example', async () => {
    const message = examplesOf(page).find(({ kind, id }) => kind === 'request' && id === 'createCalls')?.message
    const { calls } = message as { calls: { args: Uint8Array; argsDigest: Uint8Array }[] } // the parser took it just above
    for (const call of calls) expect(await argsDigest(call.args)).toEqual(call.argsDigest)
  })

  test('has links that lead somewhere on the page', () => {
    const anchors = Array.from(page.matchAll(/^#+ (.+)$/gm), ([, title = '']) => anchorOf(title))
    for (const [, anchor = ''] of page.matchAll(/\]\(#([^)]+)\)/g)) expect(anchors).toContain(anchor)
    expect(anchors.length, 'two headings share an anchor').toBe(new Set(anchors).size)
  })
})

describe('the OpenAPI document', () => {
  const document = JSON.parse(JSON.stringify(openApiDocument())) as OpenApi // what a client gets: JSON
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  )

  test('has every endpoint as an operation of its own, and no other', () => {
    const known = endpoints.map(([id, { method, path }]) => `${method.toLowerCase()} ${path} ${id}`)
    const told = operations.map(({ path, method, operation }) => `${method} ${path} ${operation.operationId}`)
    expect(told.toSorted()).toEqual(known.toSorted())
  })

  test.each(endpoints)(
    'tells of %s what the endpoint says',
    (id, { method, path, scope, summary, request, requestForm, answer, form, status = 200, unfinished }) => {
      const operation = document.paths[path]?.[method.toLowerCase()]
      expect(operation?.summary).toBe(summary)
      expect(operation?.['x-callplane-scope'] ?? null).toBe(scope)
      // No key is said by an empty list; else the document's own list holds.
      expect(operation?.security).toEqual(scope === null ? [] : undefined)
      if (request !== null) {
        expect(operation?.requestBody).toEqual({
          required: true,
          content: {
            [requestForm === 'json' ? 'application/json' : 'application/msgpack']: {
              schema: JSON.parse(JSON.stringify(request.schema)),
            },
          },
        })
      }
      const content = Object.values(operation?.responses[status]?.content ?? {})
      expect(content.length, `${id} answers nothing`).toBe(form === 'either' ? 2 : 1)
      expect(operation?.responses['202'] !== undefined).toBe(unfinished !== undefined)
      for (const { schema } of content) expect(schema).toEqual(JSON.parse(JSON.stringify(answer.schema)))
    },
  )

  test.each(operations)('names the parameters in $path, each required', ({ path, operation }) => {
    const inPath = (operation.parameters ?? []).filter((parameter) => parameter.in === 'path')
    expect(inPath.map(({ name }) => name)).toEqual(Array.from(path.matchAll(/\{(\w+)\}/g), ([, name]) => name))
    for (const { required, schema } of inPath)
      expect({ required, type: schema.type }).toEqual({ required: true, type: 'string' })
  })

  test('has what OpenAPI 3.1 requires', () => {
    expect(document.openapi).toMatch(/^3\.1\.\d+$/)
    expect(document.info.title).not.toBe('')
    expect(document.info.version).not.toBe('')
    const schemes = Object.keys(document.components.securitySchemes)
    for (const named of document.security.flatMap((one) => Object.keys(one))) expect(schemes).toContain(named)
    for (const { path, method, operation } of operations) {
      expect(path).toMatch(/^\//)
      expect(['get', 'post', 'put', 'patch', 'delete']).toContain(method)
      expect(Object.keys(operation.responses).length).toBeGreaterThan(0)
      for (const [status, response] of Object.entries(operation.responses)) {
        expect(status).toMatch(/^(default|[1-5]\d\d)$/)
        expect(typeof response.description).toBe('string')
      }
    }
    const ids = operations.map(({ operation }) => operation.operationId)
    expect(ids).toHaveLength(new Set(ids).size)
  })

  test('has references that resolve', () => {
    const references = [...walk(document)].flatMap(({ value }) =>
      isRecord(value) && typeof value['$ref'] === 'string' ? [value['$ref']] : [],
    )
    expect(references.length).toBeGreaterThan(0)
    for (const reference of references) {
      expect(reference).toMatch(/^#\//)
      const steps = reference.slice(2).split('/')
      const target = steps.reduce<unknown>((value, step) => (isRecord(value) ? value[step] : undefined), document)
      expect(target, reference).toBeDefined()
    }
  })

  test('has schemas that are JSON Schema', () => {
    const schemas = [...walk(document)].filter(({ key }) => key === 'schema').map(({ value }) => value)
    expect(schemas.length).toBeGreaterThan(operations.length)
    for (const schema of [...schemas, ...Object.values(document.components.schemas)]) checkSchema(schema)
  })

  test('lists every error code', () => {
    const schema = document.components.schemas['Error']?.properties?.['error']?.properties?.['code']
    expect(schema?.enum).toEqual(Object.keys(ERROR_CODES))
  })
})

test.each(endpoints)('the app answers at the path of %s', async (_, { method, path }) => {
  // No statement gets through: with the bootstrap key none is needed to find the route.
  const sql: Sql = () => Promise.reject(new SqlError('no database here', NO_CONNECTION))
  const { key } = newKey()
  const { request } = createApp({ sql, bell: inProcessBell({ lookEveryMs: Infinity }), adminKey: key })
  const response = await request(path.replaceAll(/[{}]/g, ''), { method, headers: { authorization: `Bearer ${key}` } })
  expect(await response.text()).not.toContain(`there is no ${method}`)
})

// How the page is read.

/** The text below a heading, up to the next heading of its level or above. */
function section(title: string): string {
  const heading = new RegExp(`^(#+) ${title}$`, 'm').exec(page)
  if (heading === null) throw new Error(`docs/protocol.md has no heading "${title}"`)
  const rest = page.slice(heading.index + heading[0].length)
  const end = rest.search(new RegExp(`^#{1,${heading[1]?.length ?? 1}} `, 'm'))
  return end === -1 ? rest : rest.slice(0, end)
}

/** The body rows of all tables in a text. */
function rowsOf(text: string): string[][] {
  const lines = text.split('\n')
  const isRow = (line: string | undefined) => line?.startsWith('|') === true
  const isRule = (line: string | undefined) => /^[|\s-]+$/.test(line ?? '') && isRow(line)
  return lines
    .filter((line, index) => isRow(line) && !isRule(line) && !isRule(lines[index + 1]))
    .map((line) =>
      line
        .slice(1, -1)
        .split('|')
        .map((cell) => cell.trim()),
    )
}

/** The fields that the tables of a text name, with the mark of optional ones. */
function documentedFields(text: string): string[] {
  return rowsOf(text).flatMap(([cell = '']) => /^`([\w[\].]+\??)`$/.exec(cell)?.[1] ?? [])
}

/** The fields of a schema, written as the page writes them. */
function fieldsOf(schema: JsonSchema | undefined, path = ''): string[] {
  if (schema === undefined) return []
  const fields = Object.entries(schema.properties ?? {}).flatMap(([name, inner]) => {
    const field = path === '' ? name : `${path}.${name}`
    return [`${field}${schema.required?.includes(name) ? '' : '?'}`, ...fieldsOf(inner, field)]
  })
  const items = schema.items === undefined ? [] : fieldsOf(schema.items, `${path}[]`)
  const variants = (schema.anyOf ?? []).map((variant) => fieldsOf(variant, path))
  // Frames are tables of their own, in which a field may stand again; the variants of one object share a table.
  const joined = path === '' ? variants.flat() : [...new Set(variants.flat())]
  return [...fields, ...items, ...joined]
}

/** The messages that stand behind a mark such as `<!-- request poll -->`. */
function examplesOf(text: string): { kind: string; id: string; message: unknown }[] {
  const marked = text.matchAll(/<!-- (request|answer) (\w+) -->\n+```js\n([^]*?)```/g)
  return Array.from(marked, ([, kind = '', id = '', source = '']) => {
    const json = source.replace(/bytes\("([0-9a-f ]*)"\)/g, '{ "$bytes": "$1" }')
    const message: unknown = JSON.parse(json, (_, value: unknown) =>
      isRecord(value) && typeof value['$bytes'] === 'string' ? fromHex(value['$bytes']) : value,
    )
    return { kind, id, message }
  })
}

function fromHex(text: string): Uint8Array {
  return Uint8Array.from(text.split(' '), (byte) => Number.parseInt(byte, 16))
}

/** As GitHub makes it of a heading. */
function anchorOf(title: string): string {
  return title
    .toLowerCase()
    .replaceAll(' ', '-')
    .replace(/[^\w-]/g, '')
}

// How the document is read.

interface OpenApi {
  openapi: string
  info: { title: string; version: string }
  security: Record<string, string[]>[]
  paths: Record<string, Record<string, Operation>>
  components: { securitySchemes: Record<string, unknown>; schemas: Record<string, JsonSchema> }
}

interface Operation {
  operationId: string
  summary: string
  security?: Record<string, string[]>[]
  'x-callplane-scope'?: string
  parameters?: { name: string; in: string; required: boolean; schema: JsonSchema }[]
  requestBody?: unknown
  responses: Record<string, { description: string; content?: Record<string, { schema: JsonSchema }> }>
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function* walk(value: unknown, key = ''): Generator<{ key: string; value: unknown }> {
  yield { key, value }
  if (typeof value !== 'object' || value === null) return
  for (const [name, inner] of Object.entries(value)) yield* walk(inner, name)
}

const KEYWORDS: Record<string, (value: unknown) => boolean> = {
  $ref: isString,
  type: (value) => ['object', 'array', 'string', 'integer', 'number', 'boolean', 'null'].includes(String(value)),
  description: isString,
  properties: isRecord,
  required: (value) => Array.isArray(value) && value.every(isString),
  additionalProperties: (value) => typeof value === 'boolean',
  items: isRecord,
  anyOf: (value) => Array.isArray(value) && value.length > 0,
  enum: (value) => Array.isArray(value) && value.length > 0,
  const: (value) => value !== undefined,
  format: isString,
  pattern: (value) => isString(value) && new RegExp(value, 'u') instanceof RegExp,
  minimum: Number.isFinite,
  maximum: Number.isFinite,
  minItems: Number.isInteger,
  maxItems: Number.isInteger,
  minLength: Number.isInteger,
  maxLength: Number.isInteger,
}

function isString(value: unknown): value is string {
  return typeof value === 'string'
}

function checkSchema(schema: unknown): void {
  if (!isRecord(schema)) throw new Error(`${JSON.stringify(schema)} is no schema`)
  for (const [keyword, value] of Object.entries(schema)) {
    expect(KEYWORDS[keyword]?.(value), `${keyword}: ${JSON.stringify(value)}`).toBe(true)
  }
  const properties = isRecord(schema['properties']) ? schema['properties'] : {}
  const required = Array.isArray(schema['required']) ? schema['required'] : []
  for (const name of required) expect(Object.keys(properties)).toContain(name)
  for (const inner of Object.values(properties)) checkSchema(inner)
  if (schema['items'] !== undefined) checkSchema(schema['items'])
  if (Array.isArray(schema['anyOf'])) schema['anyOf'].forEach(checkSchema)
}
