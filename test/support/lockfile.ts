// Completes package-lock.json after `npm install`: a registry that lacks another platform's binaries leaves their optional
// packages out of the lock, and `npm ci` then refuses it everywhere. Run it with `npm run lockfile`; a test checks.
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

interface LockedPackage {
  version?: string
  dev?: boolean
  optional?: boolean
  os?: string[]
  cpu?: string[]
  libc?: string[]
  optionalDependencies?: Record<string, string>
}

export interface Lockfile {
  packages: Record<string, LockedPackage>
}

const OS = /android|darwin|freebsd|linux|netbsd|openbsd|openharmony|sunos|win32|windows/
const CPU = /[-/](arm64|x64|64|ia32|arm|ppc64|riscv64|s390x|loong64|wasm32)(?:-|$)/

/** The optional packages that the lock asks for and does not hold, each with the entry that it should have. */
export function missingPackages(lock: Lockfile): Map<string, LockedPackage> {
  const missing = new Map<string, LockedPackage>()
  for (const [path, { optionalDependencies = {}, dev }] of Object.entries(lock.packages)) {
    for (const [name, range] of Object.entries(optionalDependencies)) {
      const places = [`${path}/node_modules/${name}`, `node_modules/${name}`]
      if (places.some((place) => lock.packages[place] !== undefined)) continue
      const entry = { version: range.replace(/^\D+/, ''), ...(dev ? { dev } : {}), optional: true, ...platformOf(name) }
      missing.set(`node_modules/${name}`, entry)
    }
  }
  return missing
}

/** For which machines a package of binaries is, by its name: `@scope/tool-linux-x64-musl`, `workerd-darwin-64`. */
function platformOf(name: string): Pick<LockedPackage, 'os' | 'cpu' | 'libc'> {
  const os = OS.exec(name)?.[0].replace('windows', 'win32')
  const cpu = CPU.exec(name)?.[1]?.replace(/^64$/, 'x64')
  const libc = os !== 'linux' ? undefined : /musl/.test(name) ? 'musl' : /gnu/.test(name) ? 'glibc' : undefined
  return { os: [os ?? 'none'], cpu: [cpu ?? 'none'], ...(libc === undefined ? {} : { libc: [libc] }) }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const file = fileURLToPath(new URL('../../package-lock.json', import.meta.url))
  const lock: Lockfile = JSON.parse(readFileSync(file, 'utf8'))
  const missing = missingPackages(lock)
  const packages = Object.entries({ ...lock.packages, ...Object.fromEntries(missing) })
  lock.packages = Object.fromEntries(packages.toSorted(([a], [b]) => (a < b ? -1 : 1)))
  writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`)
  console.log(`${missing.size} optional packages of other platforms were added to the lock`)
}
