// What the schema says of columns, and whether a query sorts by one that can be null without saying where the nulls go.
import { allNodes, nameAt, nodeAt, nodesAt, ofType, ownNodes, parseSql, textAt, type SqlNode } from './sql-tree.ts'

/** Table → column → whether it can be null. */
export type Catalogue = Map<string, Map<string, boolean>>

/** The columns that `create table` and `add column` make. */
export function catalogueOf(statements: readonly string[]): Catalogue {
  const catalogue: Catalogue = new Map()
  for (const root of statements.flatMap(parseSql)) {
    const table = textAt(nodeAt(root, 'relation'), 'relname')
    const keys = nodesAt(root, 'tableElts').flatMap((element) =>
      element['contype'] === 'CONSTR_PRIMARY' ? nameAt(element, 'keys') : [],
    )
    const columns = catalogue.get(table) ?? new Map<string, boolean>()
    for (const column of columnDefinitions(root)) {
      const name = textAt(column, 'colname')
      columns.set(name, !isRequired(column) && !keys.includes(name))
    }
    catalogue.set(table, columns)
  }
  return catalogue
}

export function columnDefinitions(root: SqlNode): SqlNode[] {
  return root.type === 'CreateStmt' || root.type === 'AlterTableStmt' ? ofType(allNodes(root), 'ColumnDef') : []
}

function isRequired(column: SqlNode): boolean {
  const kinds = nodesAt(column, 'constraints').map((constraint) => textAt(constraint, 'contype'))
  return kinds.includes('CONSTR_NOTNULL') || kinds.includes('CONSTR_PRIMARY')
}

/** Postgres sorts nulls last and CockroachDB first. A column is judged only where its table is certain. */
export function unorderedNulls(query: SqlNode, catalogue: Catalogue): string[] {
  const compared = conjuncts(nodeAt(query, 'whereClause')).flatMap(comparedColumns)
  return ofType(ownNodes(query), 'SortBy')
    .filter((sort) => sort['sortby_nulls'] === 'SORTBY_NULLS_DEFAULT')
    .map((sort) => nodeAt(sort, 'node'))
    .flatMap((column) => (column?.type === 'ColumnRef' ? [nameAt(column, 'fields')] : []))
    .filter((path) => isNullable(path, query, catalogue) && !compared.includes(path.at(-1) ?? ''))
    .map((path) => `${path.join('.')} can be null: write nulls first or nulls last`)
}

function isNullable(path: string[], query: SqlNode, catalogue: Catalogue): boolean {
  const [table, name] = path.length === 2 ? path : [undefined, path[0]]
  // A bare name may be that of a result column, which hides the table's.
  if (table === undefined && nodesAt(query, 'targetList').some((target) => target['name'] === name)) return false
  const from = sources(query)
  const certain = table === undefined ? (from.length === 1 ? from : []) : from.filter(({ alias }) => alias === table)
  return certain.some((source) => catalogue.get(source.table)?.get(name ?? '') === true)
}

export interface Source {
  alias: string
  /** In the schema callplane; '' for whatever else one can select from. */
  table: string
}

/** What a query itself reads from or writes to, not what its subqueries do. */
export function sources(query: SqlNode): Source[] {
  const target = nodeAt(query, 'relation')
  const from = [...nodesAt(query, 'fromClause'), ...nodesAt(query, 'usingClause')]
  return [...(target ? [target] : []), ...from].flatMap(sourcesIn)
}

function sourcesIn(node: SqlNode): Source[] {
  if (node.type === 'JoinExpr')
    return [nodeAt(node, 'larg'), nodeAt(node, 'rarg')].flatMap((side) => (side ? sourcesIn(side) : []))
  const alias = textAt(nodeAt(node, 'alias'), 'aliasname')
  const table = node['schemaname'] === 'callplane' ? textAt(node, 'relname') : ''
  return [{ alias: alias || textAt(node, 'relname'), table }]
}

function conjuncts(where: SqlNode | undefined): SqlNode[] {
  if (where?.type === 'BoolExpr' && where['boolop'] === 'AND_EXPR') return nodesAt(where, 'args').flatMap(conjuncts)
  return where ? [where] : []
}

/** The columns that a condition lets pass only when they are not null; `is distinct from` has the operator = as well. */
function comparedColumns(condition: SqlNode): string[] {
  const isOperator = /^AEXPR_(OP|OP_ANY|IN)$/.test(textAt(condition, 'kind'))
  const isComparison = isOperator && /^(=|<|<=|>|>=)$/.test(nameAt(condition, 'name').join())
  if (!isComparison && condition['nulltesttype'] !== 'IS_NOT_NULL') return []
  const sides = [nodeAt(condition, 'lexpr'), nodeAt(condition, 'rexpr'), nodeAt(condition, 'arg')]
  return sides.flatMap((side) => (side?.type === 'ColumnRef' ? (nameAt(side, 'fields').at(-1) ?? '') : []))
}
