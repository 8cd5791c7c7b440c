// Which part of src may import what, and the check of a tree of files against it.
import { posix } from 'node:path'
import { parseAst } from 'vitest/node'

/** Path from the top of the repository → text. */
export type Tree = ReadonlyMap<string, string>

interface Rule {
  /** Parts of src; a part may always import itself. */
  parts: readonly string[]
  /** npm packages, by name. */
  packages: readonly string[]
}

const RULES: Record<string, Rule> = {
  protocol: { parts: [], packages: ['@msgpack/msgpack'] },
  db: { parts: [], packages: ['pg', '@electric-sql/pglite', '@neondatabase/serverless'] },
  jobs: { parts: ['protocol', 'db'], packages: [] },
  live: { parts: ['protocol', 'db'], packages: ['ws'] },
  bell: { parts: ['protocol', 'db'], packages: [] },
  http: { parts: ['protocol', 'db', 'jobs', 'live', 'bell'], packages: ['hono'] },
  sdk: { parts: ['protocol'], packages: [] },
  cli: { parts: ['sdk', 'protocol', 'node.ts'], packages: [] },
  dashboard: { parts: ['sdk', 'protocol'], packages: [] },
}

/** They wire everything together, each on its own platform. */
const ENTRIES: Record<string, Platform> = { 'src/node.ts': 'node', 'src/worker.ts': 'workerd' }

type Platform = 'node' | 'workerd'

interface Import {
  specifier: string
  isType: boolean
}

/** A sentence for each import that breaks a rule, and for each cycle. */
export function importFaults(tree: Tree): string[] {
  const edges = new Map<string, string[]>()
  const faults: string[] = []
  for (const [file, text] of tree) {
    const found = importsOf(text)
    edges.set(file, [])
    for (const one of found) {
      const fault = one.specifier.startsWith('.') ? faultOfFile(tree, file, one) : faultOfModule(file, one)
      if (fault !== null) faults.push(`${file} imports ${one.specifier}: ${fault}`)
      if (one.specifier.startsWith('.')) edges.get(file)?.push(resolve(file, one.specifier))
    }
  }
  return [...faults, ...cyclesOf(edges).map((cycle) => `a cycle: ${cycle.join(' → ')}`)]
}

/** Every static, dynamic, re-exporting and type-only import that names its module. */
export function importsOf(text: string): Import[] {
  const imports: Import[] = []
  visit(parseAst(text, { lang: 'ts' }), (node) => {
    const { type, source } = node
    if (!KINDS.has(String(type)) || !isNode(source) || typeof source['value'] !== 'string') return
    const isType = type === 'TSImportType' || node['importKind'] === 'type' || node['exportKind'] === 'type'
    imports.push({ specifier: source['value'], isType })
  })
  return imports
}

const KINDS = new Set([
  'ImportDeclaration',
  'ExportNamedDeclaration',
  'ExportAllDeclaration',
  'ImportExpression',
  'TSImportType',
])

type Node = Record<string, unknown>

const isNode = (value: unknown): value is Node => typeof value === 'object' && value !== null

function visit(value: unknown, see: (node: Node) => void): void {
  if (Array.isArray(value)) for (const item of value) visit(item, see)
  else if (isNode(value)) {
    see(value)
    for (const child of Object.values(value)) visit(child, see)
  }
}

function faultOfFile(tree: Tree, file: string, { specifier }: Import): string | null {
  const target = resolve(file, specifier)
  if (!tree.has(target)) return `there is no ${target} in src`
  const platform = platformOf(target)
  if (target in ENTRIES && partOf(file) !== 'cli') return 'nothing imports an entry'
  if (platform !== null && !(target in ENTRIES) && platformOf(file) !== platform) {
    return `only the ${platform} entry and *.${platform}.ts may`
  }
  const [from, to] = [partOf(file), partOf(target)]
  if (file in ENTRIES || from === to) return null
  const rule = RULES[from]
  if (rule === undefined) return `the table has no ${from}`
  return rule.parts.includes(to) ? null : `${from} may import ${rule.parts.join(', ') || 'nothing of ours'}`
}

function faultOfModule(file: string, { specifier, isType }: Import): string | null {
  const part = partOf(file)
  const platform = platformOf(file)
  if (specifier.startsWith('node:')) {
    if (platform === 'node' || part === 'cli') return null
    if (file === 'src/worker.ts' && specifier === 'node:async_hooks') return null
    return 'only the Node entry, *.node.ts and cli may'
  }
  if (specifier.startsWith('cloudflare:')) {
    return platform === 'workerd' ? null : 'only the Cloudflare entry and *.workerd.ts may'
  }
  const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/')
  if (name === '@cloudflare/workers-types') {
    const mayName = platform === 'workerd' || file.endsWith('.d.ts')
    return isType && mayName ? null : 'only the Cloudflare entry, *.workerd.ts and *.d.ts may, as types'
  }
  if (file in ENTRIES) return null
  const packages = RULES[part]?.packages ?? []
  return packages.includes(name) ? null : `${part} may import ${packages.join(', ') || 'no package'}`
}

function resolve(file: string, specifier: string): string {
  return posix.join(posix.dirname(file), specifier)
}

/** `jobs` for src/jobs/claim.ts, `node.ts` for src/node.ts. */
function partOf(file: string): string {
  return file.split('/')[1] ?? file
}

function platformOf(file: string): Platform | null {
  if (file in ENTRIES) return ENTRIES[file] ?? null
  if (file.endsWith('.node.ts')) return 'node'
  return file.endsWith('.workerd.ts') ? 'workerd' : null
}

/** Cycles that share no file; type-only imports count, since a reader follows them too. */
function cyclesOf(edges: ReadonlyMap<string, readonly string[]>): string[][] {
  const cycles: string[][] = []
  const done = new Set<string>()
  const path: string[] = []
  const walk = (file: string): void => {
    const start = path.indexOf(file)
    if (start >= 0) cycles.push([...path.slice(start), file])
    if (start >= 0 || done.has(file)) return
    path.push(file)
    for (const next of edges.get(file) ?? []) walk(next)
    path.pop()
    done.add(file)
  }
  for (const file of edges.keys()) walk(file)
  return cycles
}
