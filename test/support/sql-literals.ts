// Finds the SQL in a source file: the template literals that follow the mark, and those that should.
import { dirname, join } from 'node:path'
import { parseAst } from 'vitest/node'

/**
 * A statement of the code. Its template literal directly follows one of these marks:
 *
 *     sql                  for every database
 *     sql postgres         behind a switch, where the database is known to be Postgres
 *     sql all namespaces   a sweep's, which alone looks past the namespace
 *     sql fragment         a part, in a constant; statements of this file and of those that import it may interpolate it
 */
export interface SqlLiteral {
  file: string
  line: number
  text: string
  mark: Mark
}

type Mark = 'sql' | 'sql postgres' | 'sql all namespaces'

const MARKS = new Set<string>(['sql', 'sql postgres', 'sql all namespaces', 'sql fragment'])

export interface Literals {
  marked: SqlLiteral[]
  /** Everything else that begins as a statement does. Whether it is one, a parser must tell. */
  suspicious: SqlLiteral[]
  /** What the collector itself has to say. */
  problems: { file: string; line: number; message: string }[]
}

/** `readText` gives the text of an imported file, by its path. */
export function findLiterals(file: string, source: string, readText: (file: string) => string): Literals {
  const found: Literals = { marked: [], suspicious: [], problems: [] }
  const fragments = new Map<string, string>()
  const program = parse(file, source)
  for (const [name, text] of importedFragments(file, program, readText)) fragments.set(name, text)

  walk(program, (node) => {
    const parts = partsOf(node, source)
    if (!parts) return
    const line = source.slice(0, node.start).split('\n').length
    const mark = markBefore(source, node.start)
    if (mark === undefined) {
      const text = parts.texts.join(' x ')
      if (STARTS_LIKE_SQL.test(text)) found.suspicious.push({ file, line, text, mark: 'sql' })
      return
    }
    if (!MARKS.has(mark)) found.problems.push({ file, line, message: `"${mark}" is no mark` })
    const unknown = parts.names.find((name) => name === null || !fragments.has(name))
    if (unknown !== undefined) {
      found.problems.push({
        file,
        line,
        message: `\${${unknown ?? '…'}} is no fragment: the whole statement must be visible`,
      })
      return
    }
    const text = parts.texts.reduce((sum, part, i) => sum + (fragments.get(parts.names[i - 1] ?? '') ?? '') + part)
    if (mark === 'sql fragment') fragments.set(constantBefore(source, node.start), text)
    else found.marked.push({ file, line, text, mark: mark as Mark }) // MARKS has no other.
  })
  return found
}

const STARTS_LIKE_SQL = /^\s*(select|insert|update|delete|with)\s/i

interface AstNode {
  type: string
  start: number
  [key: string]: unknown
}

function parse(file: string, source: string): AstNode {
  return parseAst(source, { lang: 'ts' }, file) as unknown as AstNode // The types of ESTree know no generic walk.
}

/** In the order of the text, so that a fragment is known before its first use. */
function walk(value: unknown, visit: (node: AstNode) => void): void {
  if (Array.isArray(value)) return value.forEach((item) => walk(item, visit))
  if (!isNode(value)) return
  visit(value)
  for (const child of Object.values(value)) walk(child, visit)
}

function isNode(value: unknown): value is AstNode {
  return typeof value === 'object' && value !== null && 'type' in value && 'start' in value
}

interface Parts {
  texts: string[]
  /** What is interpolated between them: the name of a variable, or null for any other expression. */
  names: (string | null)[]
}

function partsOf(node: AstNode, source: string): Parts | undefined {
  if (node.type === 'Literal' && typeof node['value'] === 'string') return { texts: [node['value']], names: [] }
  if (node.type !== 'TemplateLiteral') return undefined
  const quasis = node['quasis'] as { value: { cooked: string } }[] // ESTree's TemplateLiteral.
  const expressions = node['expressions'] as (AstNode & { end: number })[] // ESTree's TemplateLiteral.
  const nameOf = ({ type, start, end }: AstNode & { end: number }): string | null =>
    type === 'Identifier' ? source.slice(start, end) : null
  return { texts: quasis.map(({ value }) => value.cooked), names: expressions.map(nameOf) }
}

function markBefore(source: string, start: number): string | undefined {
  return /\/\*\s*(sql[^*]*?)\s*\*\/\s*$/.exec(source.slice(Math.max(0, start - 100), start))?.[1]
}

function constantBefore(source: string, start: number): string {
  return /const\s+(\w+)(?::\s*\w+)?\s*=\s*\/\*[^*]*\*\/\s*$/.exec(source.slice(0, start))?.[1] ?? ''
}

function importedFragments(file: string, program: AstNode, readText: (file: string) => string): Map<string, string> {
  const fragments = new Map<string, string>()
  walk(program, (node) => {
    if (node.type !== 'ImportDeclaration' || node['importKind'] === 'type') return
    const from = (node['source'] as { value: string }).value // ESTree's ImportDeclaration.
    if (!from.startsWith('.')) return
    const exported = fragmentsOf(join(dirname(file), from), readText)
    for (const [name, text] of exported) fragments.set(name, text)
  })
  return fragments
}

function fragmentsOf(file: string, readText: (file: string) => string): Map<string, string> {
  const source = readText(file)
  const fragments = new Map<string, string>()
  if (!source.includes('/* sql fragment */')) return fragments
  walk(parse(file, source), (node) => {
    const parts = partsOf(node, source)
    if (parts?.names.length !== 0 || markBefore(source, node.start) !== 'sql fragment') return
    fragments.set(constantBefore(source, node.start), parts.texts.join(''))
  })
  return fragments
}
