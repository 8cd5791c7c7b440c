// What a statement may use: only what Postgres from 14 on and CockroachDB from 23.2 on both have, and never without its namespace.
import { columnDefinitions, sources, unorderedNulls, type Catalogue } from './nullable-columns.ts'
import { allNodes, nameAt, nodeAt, nodesAt, ofType, ownNodes, parseSql, textAt, type SqlNode } from './sql-tree.ts'

export interface Statement {
  text: string
  mark: 'sql' | 'sql postgres' | 'sql all namespaces'
}

export interface Violation {
  rule: Rule
  message: string
}

type Check = (root: SqlNode, catalogue: Catalogue) => string[]

/** Every violation in one statement. A statement for Postgres alone keeps only to the rules that are not about CockroachDB. */
export function lintStatement({ text, mark }: Statement, catalogue: Catalogue): Violation[] {
  const roots = parse(text)
  if (typeof roots === 'string') return [{ rule: 'syntax', message: roots }]
  const [root, ...others] = roots
  if (!root || others.length > 0) return [{ rule: 'one-statement', message: `${roots.length} statements in one text` }]
  const rules = Object.entries(CHECKS) as [keyof typeof CHECKS, Check][] // Object.entries forgets the keys.
  return rules
    .filter(([rule]) => (mark === 'sql postgres' ? FOR_POSTGRES_TOO.has(rule) : true))
    .filter(([rule]) => rule !== 'namespace' || mark !== 'sql all namespaces')
    .flatMap(([rule, check]) => check(root, catalogue).map((message) => ({ rule, message })))
}

function parse(text: string): SqlNode[] | string {
  try {
    return parseSql(text)
  } catch (error) {
    return String(error)
  }
}

const CHECKS = {
  'statement-kind': (root) => {
    const isKnown = [...DML, ...DDL, ...Object.keys(BANNED_KINDS)].includes(root.type)
    return isKnown ? [] : [`${root.type} has no place in a statement that commits by itself`]
  },

  'listen-notify': (root) => [...bannedKind(root, 'listen-notify'), ...bannedCalls(root, /^pg_notify$/)],

  'advisory-lock': (root) => bannedCalls(root, /^pg_(try_)?advisory_/),

  sequence: (root) => [
    ...bannedKind(root, 'sequence'),
    ...bannedCalls(root, /^(nextval|currval|setval|lastval)$/),
    ...typeNames(root).filter((name) => /^(small|big)?serial\d?$/.test(name)),
    ...ofType(allNodes(root), 'Constraint').flatMap((node) =>
      node['contype'] === 'CONSTR_IDENTITY' ? ['identity'] : [],
    ),
  ],

  'system-column': (root) => columnNames(root).filter((name) => /^(xmin|xmax|cmin|cmax|ctid|tableoid)$/.test(name)),

  'int-type': (root) =>
    typeNames(root)
      .filter((name) => /^int[24]$/.test(name))
      .map((name) => `${name}: write int8`),

  'custom-type': (root) => [
    ...bannedKind(root, 'custom-type'),
    ...typeNames(root).filter((name) => name.endsWith('range')),
  ],

  procedural: (root) => bannedKind(root, 'procedural'),

  'newer-postgres': (root) => [...bannedKind(root, 'newer-postgres'), ...newerThan14(root)],

  'integer-division': (root) =>
    ofType(allNodes(root), 'A_Expr')
      .filter((node) => nameAt(node, 'name').join() === '/' && !isFractional(node))
      .map(() => 'cast one side to float8: 1 / 2 is 0 in Postgres and 0.5 in CockroachDB'),

  'nulls-order': (root, catalogue) => queriesIn(root).flatMap((query) => unorderedNulls(query, catalogue)),

  'two-modifications': (root) => twoModifications(root),

  'column-type': (root) => columnDefinitions(root).flatMap(columnType),

  'one-ddl': (root) => {
    const parts = Math.max(nodesAt(root, 'cmds').length, nodesAt(root, 'objects').length)
    return DDL.includes(root.type) && parts > 1 ? [`${parts} changes in one statement`] : []
  },

  'repeatable-ddl': (root) => (DDL.includes(root.type) && !isRepeatable(root) ? ['it cannot be run twice'] : []),

  'schema-qualified': (root) => {
    const ctes = new Set(ofType(allNodes(root), 'CommonTableExpr').map((cte) => textAt(cte, 'ctename')))
    return tables(root)
      .filter(
        (table) =>
          table['schemaname'] !== 'callplane' &&
          !(table['schemaname'] === undefined && ctes.has(textAt(table, 'relname'))),
      )
      .map((table) => `${textAt(table, 'relname')} is no table of the schema callplane`)
  },

  namespace: (root) => queriesIn(root).flatMap(missingNamespace),
} satisfies Record<string, Check>

export type Rule = keyof typeof CHECKS | 'syntax' | 'one-statement'

/** All of them, so that a test can plant one violation each. */
export const RULES: string[] = ['syntax', 'one-statement', ...Object.keys(CHECKS)]

const FOR_POSTGRES_TOO = new Set<string>(['statement-kind', 'namespace', 'int-type', 'newer-postgres', 'one-ddl'])

const DML = ['SelectStmt', 'InsertStmt', 'UpdateStmt', 'DeleteStmt']
const DDL = ['CreateSchemaStmt', 'CreateStmt', 'IndexStmt', 'AlterTableStmt', 'DropStmt']

const BANNED_KINDS: Record<string, string> = {
  ListenStmt: 'listen-notify',
  UnlistenStmt: 'listen-notify',
  NotifyStmt: 'listen-notify',
  CreateSeqStmt: 'sequence',
  AlterSeqStmt: 'sequence',
  CreateDomainStmt: 'custom-type',
  CreateEnumStmt: 'custom-type',
  CreateRangeStmt: 'custom-type',
  CompositeTypeStmt: 'custom-type',
  CreateFunctionStmt: 'procedural',
  CreateTrigStmt: 'procedural',
  CreateExtensionStmt: 'procedural',
  DoStmt: 'procedural',
  CallStmt: 'procedural',
  MergeStmt: 'newer-postgres',
}

function bannedKind(root: SqlNode, rule: string): string[] {
  return BANNED_KINDS[root.type] === rule ? [root.type] : []
}

function bannedCalls(root: SqlNode, banned: RegExp): string[] {
  return calls(root).filter((name) => banned.test(name))
}

function calls(root: SqlNode): string[] {
  return ofType(allNodes(root), 'FuncCall').map((call) => nameAt(call, 'funcname').at(-1) ?? '')
}

function typeNames(root: SqlNode): string[] {
  return ofType(allNodes(root), 'TypeName').map((name) => nameAt(name, 'names').at(-1) ?? '')
}

function columnNames(root: SqlNode): string[] {
  return ofType(allNodes(root), 'ColumnRef').map((column) => nameAt(column, 'fields').at(-1) ?? '')
}

function tables(root: SqlNode): SqlNode[] {
  const locked = new Set(ofType(allNodes(root), 'LockingClause').flatMap(allNodes)) // `for update of j` names an alias.
  return ofType(allNodes(root), 'RangeVar').filter((table) => !locked.has(table))
}

function queriesIn(root: SqlNode): SqlNode[] {
  return allNodes(root).filter(({ type }) => DML.includes(type))
}

// The tests run on Postgres 18 alone, so that nothing but this finds what 14 lacks.
const NEWER_FUNCTIONS =
  /^(uuidv[47]|uuid_extract_\w+|any_value|array_(sample|shuffle|reverse|sort)|random_normal|regexp_(count|instr|like|substr)|erfc?|gamma|lgamma|to_(bin|oct)|casefold|crc32c?|date_(add|subtract)|pg_input_\w+|system_user)$/
const NEWER_NODES =
  /^Json(FuncExpr|Table|ObjectConstructor|ArrayConstructor|ArrayQueryConstructor|ParseExpr|ScalarExpr|SerializeExpr|IsPredicate|ObjectAgg|ArrayAgg)$/

function newerThan14(root: SqlNode): string[] {
  const nodes = allNodes(root)
  const names = new Set(nodes.flatMap((node) => [textAt(node, 'aliasname'), textAt(node, 'ctename')]))
  const returned = ofType(nodes, 'returningClause').flatMap((clause) => ofType(allNodes(clause), 'ColumnRef'))
  return [
    ...calls(root).filter((name) => NEWER_FUNCTIONS.test(name)),
    ...ofType(nodes, 'FuncCall').flatMap((call) =>
      nameAt(call, 'funcname').at(-1) === 'random' && nodesAt(call, 'args').length > 0 ? ['random with bounds'] : [],
    ),
    ...nodes.map(({ type }) => type).filter((type) => NEWER_NODES.test(type)),
    ...nodes.flatMap((node) => (node['nulls_not_distinct'] === true ? ['nulls not distinct'] : [])),
    ...nodes.flatMap((node) => (node['generated_kind'] === 'v' ? ['a virtual column'] : [])),
    ...ofType(nodes, 'RangeSubselect').flatMap((node) =>
      node['alias'] === undefined ? ['a subquery without alias'] : [],
    ),
    ...returned
      .map((column) => nameAt(column, 'fields')[0] ?? '')
      .filter((name) => (name === 'old' || name === 'new') && !names.has(name)),
  ]
}

function isFractional(node: SqlNode | undefined): boolean {
  if (!node) return false
  if (node.type === 'TypeCast')
    return /^(float8|numeric)$/.test(typeNames(nodeAt(node, 'typeName') ?? node).at(0) ?? '')
  if (node.type === 'A_Const') return node['fval'] !== undefined
  if (node.type === 'FuncCall') return /^(extract|random|avg|power)$/.test(nameAt(node, 'funcname').at(-1) ?? '')
  return node.type === 'A_Expr' && (isFractional(nodeAt(node, 'lexpr')) || isFractional(nodeAt(node, 'rexpr')))
}

/** CockroachDB refuses a second modification of one table in one statement, unless all are plain inserts. */
function twoModifications(root: SqlNode): string[] {
  const byTable = Map.groupBy(
    queriesIn(root).filter(({ type }) => type !== 'SelectStmt'),
    (query) => textAt(nodeAt(query, 'relation'), 'relname'),
  )
  return [...byTable].flatMap(([table, queries]) => {
    const arePlain = queries.every((query) => query.type === 'InsertStmt' && query['onConflictClause'] === undefined)
    return queries.length > 1 && !arePlain ? [`${table} is modified ${queries.length} times`] : []
  })
}

const COLUMN_TYPES = new Set(['uuid', 'text', 'text[]', 'bytea', 'timestamptz', 'int8', 'jsonb', 'bool', 'float8'])

function columnType(column: SqlNode): string[] {
  const type = nodeAt(column, 'typeName')
  if (!type) return []
  const name = `${nameAt(type, 'names').at(-1)}${nodesAt(type, 'arrayBounds').length > 0 ? '[]' : ''}`
  return COLUMN_TYPES.has(name) ? [] : [`${textAt(column, 'colname')} ${name}`]
}

function isRepeatable(root: SqlNode): boolean {
  if (root.type !== 'AlterTableStmt') return root['if_not_exists'] === true || root['missing_ok'] === true
  return nodesAt(root, 'cmds').every((command) => {
    const isGuarded = command['missing_ok'] === true
    // The migration takes a constraint that is there already, by its name, for added.
    return isGuarded || !/^AT_(AddColumn|DropColumn|DropConstraint|AddIndex)$/.test(textAt(command, 'subtype'))
  })
}

/** They are looked up before the namespace is known, or belong to none. */
const WITHOUT_NAMESPACE = new Set(['', 'schema_version', 'namespaces', 'keys'])

/** Each query that reads or writes a table must say for which namespace by itself: the one around it does not help. */
function missingNamespace(query: SqlNode): string[] {
  const names = sources(query)
    .map(({ table }) => table)
    .filter((table) => !WITHOUT_NAMESPACE.has(table))
  if (names.length === 0 || mentionsNamespace(query)) return []
  return [`${names.join(', ')} without its namespace`]
}

function mentionsNamespace(query: SqlNode): boolean {
  if (query.type === 'InsertStmt') return nodesAt(query, 'cols').some((column) => column['name'] === 'namespace')
  const joins = ofType(ownNodes(query), 'JoinExpr')
  const conditions = [query, ...joins].flatMap((node) => [nodeAt(node, 'whereClause'), nodeAt(node, 'quals')])
  const compared = conditions.flatMap((condition) => (condition ? [condition, ...ownNodes(condition)] : []))
  const columns = ofType(compared, 'ColumnRef').map((column) => nameAt(column, 'fields').at(-1))
  return columns.includes('namespace') || joins.some((join) => nameAt(join, 'usingClause').includes('namespace'))
}
