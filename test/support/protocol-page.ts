// Writes the tables of docs/protocol.md from the code that they tell of; run by hand after a change of the protocol:
//
//   node test/support/protocol-page.ts
//
// Between `<!-- generated: NAME -->` and `<!-- end -->` the page belongs to this file, outside of it to people.
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { encodePayload } from '../../src/protocol/codec.ts'
import { storedRetry } from '../../src/jobs/retry.ts'
import { ENDPOINTS } from '../../src/protocol/endpoints.ts'
import { ERROR_CODES, isRetryable, type ErrorCode } from '../../src/protocol/errors.ts'
import * as limits from '../../src/protocol/limits.ts'
import { NAME_PATTERN } from '../../src/protocol/names.ts'
import { BINARY_KINDS, EXT, TAG } from '../../src/protocol/payload-format.ts'
import { DEFAULT_ATTEMPTS, DEFAULT_LEASE_MS, FIRST_LEASE_MS } from '../../src/protocol/policy.ts'
import type { JsonSchema } from '../../src/protocol/shape.ts'

export const PAGE: URL = new URL('../../docs/protocol.md', import.meta.url)

/** What stands in each block, by its name. */
const BLOCKS: Record<string, () => string> = {
  endpoints: endpointTable,
  ...Object.fromEntries(Object.keys(ENDPOINTS).map((id) => [id, () => endpointBlock(id)])),
  errors: errorTable,
  extensions: extensionTable,
  'payload examples': payloadExamples,
  'json values': jsonValueTable,
  defaults: defaultTable,
  limits: limitTable,
}

const BLOCK = /(<!-- generated: ([\w ]+) -->\n)[^]*?(<!-- end -->)/g

/** The page with every block written anew; throws where a block is missing, stands twice, or is not known. */
export function renderPage(page: string): string {
  const found = Array.from(page.matchAll(BLOCK), ([, , name]) => name ?? '')
  const wanted = Object.keys(BLOCKS)
  const wrong = [
    ...wanted.filter((name) => !found.includes(name)).map((name) => `has no block "${name}"`),
    ...found.filter((name, index) => found.indexOf(name) !== index).map((name) => `has the block "${name}" twice`),
    ...found.filter((name) => !wanted.includes(name)).map((name) => `has a block "${name}" that nothing fills`),
  ]
  if (wrong.length > 0) throw new Error(`docs/protocol.md ${wrong.join(', and ')}`)
  return page.replace(BLOCK, (_, start: string, name: string, end: string) => `${start}\n${BLOCKS[name]?.()}\n\n${end}`)
}

function endpointTable(): string {
  const rows = Object.entries(ENDPOINTS).map(([id, { method, path, scope, summary }]) => [
    `[\`${method} ${path}\`](#${id.toLowerCase()})`,
    scopeOf(scope),
    summary,
  ])
  return table(['endpoint', 'scope', 'what it does'], rows)
}

function endpointBlock(id: string): string {
  const endpoint = ENDPOINTS[id]
  if (endpoint === undefined) throw new Error(`there is no endpoint ${id}`)
  const { method, path, scope, summary, request, requestForm, query, answer, form, status = 200, unfinished } = endpoint
  const head = `\`${method} ${path}\`, scope ${scopeOf(scope)}. ${summary}`
  const parameters = query === undefined ? [] : ['Behind the question mark:', queryTable(query.schema)]
  const isJson = requestForm === 'json'
  const body = [
    ...parameters,
    ...(request === null ? [] : [isJson ? 'Request, as JSON:' : 'Request:', fieldTable(request.schema)]),
  ]
  const later =
    unfinished === undefined
      ? []
      : ['Answer with status 202, when the time was over first:', fieldTable(unfinished.schema)]
  if (form !== 'frames') {
    const how = { msgpack: '', either: ' (msgpack or JSON by `Accept`)', json: ' (JSON)', text: ' (text)' }[form]
    const ok = status === 200 ? '' : ` with status ${status}`
    return [head, ...body, `Answer${ok}${how}:`, fieldTable(answer.schema), ...later].join('\n\n')
  }
  const first = Object.entries(ENDPOINTS).find(([, other]) => other.answer === answer)?.[0] ?? id
  if (first !== id)
    return [head, ...body, `Answer: [frames](#frames), as those of [${first}](#${first.toLowerCase()}).`].join('\n\n')
  return [
    head,
    ...body,
    'Answer: [frames](#frames), each one of:',
    ...(answer.schema.anyOf ?? []).map(fieldTable),
  ].join('\n\n')
}

function scopeOf(scope: string | null): string {
  return scope === null ? 'none, no key' : `\`${scope}\``
}

function fieldTable(schema: JsonSchema): string {
  const rows = fieldsOf(schema, '')
  if (rows.length > 0) return table(['field', 'type', 'meaning'], rows)
  return schema.type === 'object' ? 'An object without fields.' : `${sentence(schema.description ?? 'anything')}.`
}

/** Named as they are written; all of them may be absent. */
function queryTable({ properties = {} }: JsonSchema): string {
  const rows = Object.entries(properties).map(([name, schema]) => [
    `\`?${name}=\``,
    typeOf(schema),
    schema.description ?? '',
  ])
  return table(['parameter', 'type', 'meaning'], rows)
}

type FieldRow = [field: string, type: string, meaning: string]

/** One row for each field below a value: dots lead into objects, `[]` into the items of an array. */
function fieldsOf(schema: JsonSchema, path: string): FieldRow[] {
  if (schema.anyOf !== undefined) return variantFields(schema.anyOf, path)
  if (schema.items !== undefined) return fieldsOf(schema.items, `${path}[]`)
  return Object.entries(schema.properties ?? {}).flatMap(([name, inner]) => {
    const field = path === '' ? name : `${path}.${name}`
    const isOptional = !schema.required?.includes(name)
    const row: FieldRow = [`\`${field}${isOptional ? '?' : ''}\``, typeOf(inner), inner.description ?? '']
    return [row, ...fieldsOf(inner, field)]
  })
}

/** The union of the variants' fields; a field that not all of them have says whose it is. */
function variantFields(variants: JsonSchema[], path: string): FieldRow[] {
  const tag =
    Object.entries(variants[0]?.properties ?? {}).find(([, { const: value }]) => value !== undefined)?.[0] ?? ''
  const tagOf = (variant: JsonSchema) => `\`${String(variant.properties?.[tag]?.const)}\``
  const owners = new Map<string, { row: FieldRow; tags: string[] }>()
  for (const variant of variants) {
    for (const row of fieldsOf(variant, path)) {
      const known = owners.get(row[0])
      if (known === undefined) owners.set(row[0], { row, tags: [tagOf(variant)] })
      else known.tags.push(tagOf(variant))
    }
  }
  return [...owners.values()].map(({ row: [field, type, meaning], tags }): FieldRow => {
    if (field === `\`${path}.${tag}\``) return [field, orList(variants.map(tagOf)), 'tells the variants apart']
    if (tags.length === variants.length) return [field, type, meaning]
    return [field, type, [`with \`${tag}\` ${orList(tags)}`, meaning].filter(Boolean).join('; ')]
  })
}

function typeOf(schema: JsonSchema): string {
  const { type, format, pattern, items } = schema
  if (schema.const !== undefined) return `\`${String(schema.const)}\``
  if (schema.enum !== undefined) return orList(schema.enum.map((value) => `\`${value}\``))
  if (items !== undefined) {
    const of = items.type === 'object' || items.anyOf !== undefined ? 'objects' : typeOf(items)
    return `array of ${of}, ${range(schema.minItems ?? 0, schema.maxItems)} items`
  }
  if (schema.anyOf !== undefined) return 'object'
  if (format === 'uuid') return 'UUID'
  if (format === 'binary') return `bytes, up to ${bytes(schema.maxLength ?? 0)}`
  if (pattern === NAME_PATTERN.source) return 'name'
  if (type === 'string') {
    return schema.maxLength === undefined ? 'string' : `string, up to ${count(schema.maxLength)} characters`
  }
  if (type === 'integer' || type === 'number') return `${type}, ${range(schema.minimum ?? 0, schema.maximum)}`
  return type ?? 'any'
}

function range(min: number, max: number | undefined): string {
  return max === undefined || max === Number.MAX_SAFE_INTEGER ? `from ${count(min)}` : `${count(min)} to ${count(max)}`
}

function errorTable(): string {
  const rows = Object.entries(ERROR_CODES).map(([code, { status, meaning }]) => [
    `\`${code}\``,
    String(status),
    isRetryable(code as ErrorCode) ? 'yes' : 'no', // a key of the table
    meaning,
  ])
  return table(['code', 'HTTP', 'retry', 'meaning'], rows)
}

function extensionTable(): string {
  const source = readSource('payload-format.ts')
  const rows = Object.entries(EXT).map(([name, type]) => [
    String(type),
    `\`${name}\``,
    commentBefore(source, `${name}:`),
  ])
  const tags = Object.entries(TAG).map(([name, tag]) => `${tag} \`${name}\``)
  const kinds = BINARY_KINDS.map((kind, index) => `${index} \`${kind}\``)
  return [
    table(['type', 'name', 'data'], rows),
    `Tags (the data byte of type ${EXT.tag}): ${tags.join(', ')}.`,
    `Kinds of binary data (the first data byte of type ${EXT.binary}): ${kinds.join(', ')}.`,
  ].join('\n\n')
}

/** By what a JavaScript programmer would write, and what travels. */
const EXAMPLES: [source: string, value: unknown][] = [
  ['null', null],
  ['true', true],
  ['1', 1],
  ['-1', -1],
  ['300', 300],
  ['1.5', 1.5],
  ['-0', -0],
  ['NaN', Number.NaN],
  ['"Ada"', 'Ada'],
  ['["Ada"]', ['Ada']],
  ['{ a: 1 }', { a: 1 }],
  ['undefined', undefined],
  ['10n', 10n],
  ['-255n', -255n],
  ['new Date(0)', new Date(0)],
  ['new URL("http://a/")', new URL('http://a/')],
  ['"\\ud800"', '\ud800'],
  ['new Uint8Array([1, 2])', new Uint8Array([1, 2])],
  ['new Map([["a", 1]])', new Map([['a', 1]])],
  ['new Set([1])', new Set([1])],
  ['/a/g', /a/g],
  ['new Error("no")', withoutStack(new Error('no'))],
]

function withoutStack(error: Error): Error {
  delete error.stack
  return error
}

function payloadExamples(): string {
  const rows = EXAMPLES.map(([source, value]) => [`\`${source}\``, `\`${hex(encodePayload(value, source))}\``])
  return table(['value', 'payload'], rows)
}

function hex(data: Uint8Array): string {
  return Array.from(data, (byte) => byte.toString(16).padStart(2, '0')).join(' ')
}

/** From the comment that opens json-value.ts. */
function jsonValueTable(): string {
  const lines = readSource('json-value.ts').matchAll(/^\/\/ {3}(\S.*?) {2,}(\S.*)$/gm)
  return table(
    ['value', 'JSON'],
    Array.from(lines, ([, value = '', json = '']) => [value, json]),
  )
}

function defaultTable(): string {
  const { on, initialMs, factor, maxMs, isJittered } = storedRetry({})
  return table(
    ['policy', 'default'],
    [
      ['no `retry`', `stalls alone are retried, ${DEFAULT_ATTEMPTS} attempts in all`],
      ['`retry.attempts`', String(storedRetry({}).attempts)],
      ['`retry.on`', on.map((what) => `\`${what}\``).join(', ')],
      ['`retry.backoff.initialMs`', count(initialMs)],
      ['`retry.backoff.factor`', String(factor)],
      ['`retry.backoff.maxMs`', count(maxMs)],
      ['`retry.backoff.jitter`', isJittered ? '`full`: a random part of the wait' : '`none`'],
      ['`leaseMs`', count(DEFAULT_LEASE_MS)],
      ['the lease until the first heartbeat', `${count(FIRST_LEASE_MS)} ms, or \`leaseMs\` where that is less`],
      ['`timeoutMs`, `deadlineMs`', 'none'],
      ['`priority`', '0'],
    ],
  )
}

function limitTable(): string {
  const source = readSource('limits.ts')
  let reason = ''
  const rows = Object.entries(limits)
    .map(([name, value]) => ({ name, value, at: source.indexOf(`export const ${name}:`) }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ name, value }) => {
      reason = commentBefore(source, `export const ${name}:`) || reason // two limits may share a comment
      return [`\`${name}\``, name.endsWith('_BYTES') ? bytes(value) : count(value), reason]
    })
  return table(['limit', 'value', 'what it is, and why'], rows)
}

function readSource(file: string): string {
  return readFileSync(new URL(`../../src/protocol/${file}`, import.meta.url), 'utf8')
}

/** The doc comment that ends in the line before the declaration, as one line. */
function commentBefore(source: string, declaration: string): string {
  const lines = source.split('\n')
  const at = lines.findIndex((line) => line.trimStart().startsWith(declaration))
  if (at === -1) throw new Error(`the source has no line that begins with "${declaration}"`)
  const comment = /^\s*\/\*\* (.*) \*\/$/.exec(lines[at - 1] ?? '')
  return comment?.[1] ?? ''
}

function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}

function count(value: number): string {
  return value.toLocaleString('en-US')
}

function bytes(size: number): string {
  const mebibytes = size / 1024 / 1024
  return Number.isInteger(mebibytes) ? `${mebibytes} MiB` : `${count(size)} bytes`
}

function orList(words: string[]): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`
}

/** Padded as the formatter pads it, so that the two do not undo each other's work. */
function table(head: string[], rows: string[][]): string {
  const escaped = [head, ...rows].map((row) => row.map((cell) => cell.replaceAll('|', String.raw`\|`)))
  const widths = head.map((_, column) => Math.max(3, ...escaped.map((row) => row[column]?.length ?? 0)))
  const line = (row: string[]) => `| ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`
  const [first = [], ...rest] = escaped
  return [line(first), `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`, ...rest.map(line)].join('\n')
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(PAGE, renderPage(readFileSync(PAGE, 'utf8')))
  console.log('docs/protocol.md is written')
}
