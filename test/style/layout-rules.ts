// What the repository may hold and how its files begin: each check takes paths or text and answers its faults as sentences.

const TOP_LEVEL = [
  'package.json package-lock.json tsconfig.json wrangler.toml schema.sql src test docs',
  'README.md CHANGELOG.md CONTRIBUTING.md LICENSE',
].flatMap((line) => line.split(' '))

const SOURCE = 'worker.ts node.ts db protocol jobs bell live http sdk dashboard cli'.split(' ')

const MAX_LINES = 300

/** Written so that this file passes its own check. */
const BANNED = [
  /s[u]bagent/i,
  /this sess[i]on/i,
  /[/]wor[k][/]/,
  /[.]librar[y]\b/,
  /registry[.](npmjs|yarnpkg|npmmirror)/i,
]

export function layoutFaults(files: readonly string[]): string[] {
  const top = new Set(files.map((file) => file.split('/')[0] ?? file))
  const inSource = new Set(files.filter((file) => file.startsWith('src/')).map((file) => file.split('/')[1] ?? file))
  return [
    ...[...top].filter((entry) => !entry.startsWith('.') && !TOP_LEVEL.includes(entry)),
    ...[...inSource].filter((entry) => !SOURCE.includes(entry)).map((entry) => `src/${entry}`),
  ].map((entry) => `${entry} is not part of the layout`)
}

/** A source file opens with a sentence on what it is for. */
export function openingFault(file: string, text: string): string | null {
  const lines = text.split('\n')
  const first = lines[0]?.startsWith('#!') ? 1 : 0
  const end = lines.findIndex((line, index) => index >= first && !line.startsWith('//'))
  const opening = lines
    .slice(first, end)
    .map((line) => line.slice(2).trim())
    .join(' ')
  return /^\S.*?[.:?](\s|$)/.test(opening) ? null : `${file} does not open with a sentence in a comment`
}

export function lengthFault(file: string, text: string): string | null {
  const lines = text.split('\n').length - 1
  return lines > MAX_LINES ? `${file} has ${lines} lines: which second idea moved in?` : null
}

/** Where the project does not speak of itself alone. */
export function wordFaults(file: string, text: string): string[] {
  return text.split('\n').flatMap((line, index) => {
    const found = BANNED.map((word) => word.exec(line)?.[0]).find((match) => match !== undefined)
    return found === undefined ? [] : [`${file}:${index + 1} says ${JSON.stringify(found)}`]
  })
}

/** A suppression carries its reason on the line: `// oxlint-disable-line RULE -- REASON`. */
export function suppressionFaults(file: string, text: string): string[] {
  return text.split('\n').flatMap((line, index) => {
    const isBare = /(oxlint|eslint)-disable/.test(line) && !/-disable\S* \S.* -- \S/.test(line)
    return isBare ? [`${file}:${index + 1} suppresses without a rule and a reason`] : []
  })
}

interface LockedPackage {
  resolved?: string
  /** Missing where a package for another platform could not be had when the lockfile was made. */
  integrity?: string
  optional?: boolean
}

/** One version of each package, for everyone, from whichever registry npm is set to. */
export function dependencyFaults(packageJson: string, packageLock: string): string[] {
  const manifest = JSON.parse(packageJson) as Record<string, Record<string, string> | undefined> // only these keys are read
  const kinds = ['dependencies', 'devDependencies', 'optionalDependencies', 'peerDependencies']
  const loose = kinds
    .flatMap((kind) => Object.entries(manifest[kind] ?? {}))
    .filter(([, version]) => !/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version))
    .map(([name, version]) => `${name} is not pinned: ${version}`)
  const lock = JSON.parse(packageLock) as { packages: Record<string, LockedPackage> } // npm's format
  const locked = Object.entries(lock.packages).filter(([path]) => path !== '')
  return [
    ...loose,
    ...locked.filter(([, { resolved }]) => resolved !== undefined).map(([path]) => `${path} names where it came from`),
    ...locked
      .filter(([, { integrity, optional }]) => integrity === undefined && optional !== true)
      .map(([path]) => `${path} has no integrity`),
  ]
}
