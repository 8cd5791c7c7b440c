// What a command is, and what commands share: reading options and the environment, and ending on an error or a signal.
import { parseArgs, type ParseArgsOptionsConfig } from 'node:util'

export interface Command {
  /** One line for the list of commands. */
  summary: string
  /** The whole of `--help`. */
  help: string
  run(args: string[]): Promise<void>
  /** Where the first of its words names a command of its own. */
  commands?: Record<string, Command>
}

/** The command was not used as its help says. */
export class UsageError extends Error {}

/** Reads options and at most `positionals` other words; anything else is a UsageError. */
export function readArgs<const O extends ParseArgsOptionsConfig>(args: string[], options: O, positionals = 0) {
  try {
    const read = parseArgs({ args, options, allowPositionals: positionals > 0, strict: true })
    if (read.positionals.length > positionals)
      throw new UsageError(`"${read.positionals[positionals]}" is one word too many`)
    return read
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
}

/** PORT or `--port`, default 8787. */
export function readPort(option: string | undefined): number {
  const text = option ?? process.env['PORT'] ?? '8787'
  const port = Number(text)
  if (!/^\d+$/.test(text) || port > 65_535) throw new Error(`"${text}" is no port: give a number from 0 to 65535`)
  return port
}

/** DATABASE_URL, which `what` needs. */
export function readDatabaseUrl(what: string): string {
  const value = process.env['DATABASE_URL']
  const form = 'postgresql://user:password@host/database'
  if (!value) throw new Error(`DATABASE_URL is not set: give the Postgres ${what}, ${form}`)
  // The value is not shown: it may be a password in the wrong place.
  if (!/^postgres(ql)?:$/.test(URL.parse(value)?.protocol ?? '')) throw new Error(`DATABASE_URL must look like ${form}`)
  return value
}

/** CALLPLANE_ORIGINS as a list of exact origins. */
export function readOrigins(): string[] {
  const origins = (process.env['CALLPLANE_ORIGINS'] ?? '').split(',').map((origin) => origin.trim())
  return origins.filter(Boolean).map((origin) => {
    if (!URL.canParse(origin) || new URL(origin).origin !== origin) {
      throw new Error(`CALLPLANE_ORIGINS holds "${origin}", which is no origin: write https://example.com`)
    }
    return origin
  })
}

/** CALLPLANE_LIVE_TCP: `host:port`, or a port of this machine alone, as `:port` or bare. */
export function readLiveTcp(): { host: string; port: number } | undefined {
  const text = process.env['CALLPLANE_LIVE_TCP']
  if (!text) return undefined
  const [, ipv6, name, digits] = /^(?:(?:\[([\da-fA-F:.]+)\]|([\w.-]+))?:)?(\d{1,5})$/.exec(text) ?? []
  const port = Number(digits)
  if (digits === undefined || port > 65_535) {
    throw new Error(`CALLPLANE_LIVE_TCP is "${text}": write 127.0.0.1:8788, [::1]:8788 or :8788, which is loopback`)
  }
  return { host: ipv6 ?? name ?? '127.0.0.1', port }
}

/** CALLPLANE_PEER_URL: where other processes of the plane reach this one. */
export function readPeerUrl(): string | undefined {
  const text = process.env['CALLPLANE_PEER_URL']
  if (!text) return undefined
  const url = URL.parse(text)
  if (url !== null && /^https?:$/.test(url.protocol) && url.pathname === '/') return url.origin
  throw new Error(`CALLPLANE_PEER_URL is "${text}": write http://host:port, where the other processes reach this one`)
}

/** Resolves at the first SIGINT or SIGTERM; a second one ends the process at once. */
export function stopSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.once(signal, () => {
        process.once(signal, () => process.exit(130))
        resolve(signal)
      })
    }
  })
}

/** One line on stderr; the exit code says that it failed. */
export function fail(command: string, error: unknown): void {
  console.error(`callplane ${command}: ${sentenceOf(error)}`)
  process.exitCode = 1
}

function sentenceOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const code = 'code' in error ? error.code : undefined
  if (code === 'EADDRINUSE' && 'port' in error) {
    return `port ${String(error.port)} is in use: stop what listens there, or set PORT to another`
  }
  if (code === 'EACCES' && 'port' in error)
    return `port ${String(error.port)} is not for this user: set PORT to one above 1023`
  return error.message
}
