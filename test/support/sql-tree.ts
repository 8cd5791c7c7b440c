// The parse tree of a statement, by Postgres's own parser, in one shape: every node has its type, however it hangs in its parent.
import { loadModule, parseSync } from 'libpg-query'

export interface SqlNode {
  type: string
  [field: string]: unknown
}

await loadModule()

/** The statements of a text, or a syntax error. */
export function parseSql(text: string): SqlNode[] {
  const statements = parseSync(text).stmts ?? []
  return statements.flatMap(({ stmt }) => (isObject(stmt) ? [toNode(stmt)].filter((node) => node !== undefined) : []))
}

/** Whether it is SQL at all. */
export function isSql(text: string): boolean {
  try {
    return parseSql(text).length > 0
  } catch {
    return false
  }
}

// The parser's JSON names the type of a node only where the field could hold several: { "SelectStmt": { … } }.
const TYPE_OF_FIELD: Record<string, string> = {
  relation: 'RangeVar',
  typeName: 'TypeName',
  larg: 'SelectStmt',
  rarg: 'SelectStmt',
  over: 'WindowDef',
}

function toNode(raw: Record<string, unknown>, field = 'Node'): SqlNode | undefined {
  const [key = '', ...others] = Object.keys(raw)
  const wrapped = raw[key]
  if (others.length === 0 && /^[A-Z]/.test(key) && isObject(wrapped)) return { ...fieldsOf(wrapped), type: key }
  return { ...fieldsOf(raw), type: TYPE_OF_FIELD[field] ?? field }
}

function fieldsOf(raw: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(raw).map(([field, value]) => [field, normalise(value, field)]))
}

function normalise(value: unknown, field: string): unknown {
  if (Array.isArray(value)) return value.map((item) => normalise(item, field))
  return isObject(value) ? toNode(value, field) : value
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isNode(value: unknown): value is SqlNode {
  return isObject(value) && typeof value['type'] === 'string'
}

function childrenOf(node: SqlNode): SqlNode[] {
  return Object.values(node).flat().filter(isNode)
}

/** A node and all below it. */
export function allNodes(node: SqlNode): SqlNode[] {
  return [node, ...childrenOf(node).flatMap(allNodes)]
}

const QUERIES = new Set(['SelectStmt', 'InsertStmt', 'UpdateStmt', 'DeleteStmt', 'MergeStmt', 'withClause'])

/** What belongs to one query itself, and not to a query inside it. */
export function ownNodes(query: SqlNode): SqlNode[] {
  return childrenOf(query).flatMap((child) => (QUERIES.has(child.type) ? [] : [child, ...ownNodes(child)]))
}

export function ofType(nodes: readonly SqlNode[], type: string): SqlNode[] {
  return nodes.filter((node) => node.type === type)
}

export function nodeAt(node: SqlNode, field: string): SqlNode | undefined {
  const value = node[field]
  return isNode(value) ? value : undefined
}

export function nodesAt(node: SqlNode, field: string): SqlNode[] {
  const value = node[field]
  return Array.isArray(value) ? value.filter(isNode) : []
}

export function textAt(node: SqlNode | undefined, field: string): string {
  const value = node?.[field]
  return typeof value === 'string' ? value : ''
}

/** The parts of a dotted name: of a column, a function, a type or an operator. */
export function nameAt(node: SqlNode, field: string): string[] {
  return nodesAt(node, field).map((part) => (part.type === 'A_Star' ? '*' : textAt(part, 'sval')))
}
