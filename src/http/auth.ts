// Who asks: bearer keys, looked up by their public id, compared in constant time, remembered for half a minute.
import { createMiddleware } from 'hono/factory'
import { findKey, type StoredKey } from '../db/keys.ts'
import { SCOPES, type Scope } from '../protocol/endpoint.ts'
import { CallplaneError } from '../protocol/errors.ts'
import { grant, hashSecret, parseKey, type Grant, type KeyParts } from '../protocol/keys.ts'
import type { Reach } from '../jobs/find.ts'
import type { HttpEnv, Plane, Principal } from './context.ts'

/** A revoked key stops within a minute; half of it leaves room for a request that hangs. */
const REMEMBER_MS = 30_000
/** A flood of unknown keys costs one look-up each in this time, and this much memory. */
const REMEMBER_UNKNOWN_MS = 5_000
const MAX_REMEMBERED = 10_000

const ALL_GRANTS: readonly Grant[] = SCOPES.map((scope) => ({ scope }))

interface Remembered {
  readAtMs: number
  untilMs: number
  key: { secretHash: Uint8Array; principal: Principal } | null
}

export interface Keyring {
  /** Whose key it is; throws `unauthorized` where it is nobody's. */
  principalOf: (key: string | undefined) => Promise<Principal>
  /** The same of a key that was right before, by its public id. */
  principalById: (id: string) => Promise<Principal>
}

export function newKeyring({ sql, bell, sha256 }: Plane, { adminKey }: { adminKey?: string | undefined }): Keyring {
  const known = new Map<string, Remembered>()
  // Apart, so that a flood of made-up ids cannot drive out the keys that are in use.
  const unknown = new Map<string, Remembered>()
  const bootstrap = bootstrapOf(adminKey)

  async function lookUp(id: string): Promise<Remembered['key']> {
    // From before the look-up: however long it takes, what it found is no fresher than its beginning.
    const nowMs = performance.now()
    const remembered = known.get(id) ?? unknown.get(id)
    if (remembered !== undefined && remembered.untilMs > nowMs) return remembered.key
    const namespace = remembered?.key?.principal.namespace
    // While nobody writes, no key is revoked either.
    if (
      remembered !== undefined &&
      namespace !== undefined &&
      (await bell.isQuietSince(namespace, remembered.readAtMs))
    ) {
      remembered.untilMs = nowMs + REMEMBER_MS
      return remembered.key
    }
    const key = keyOf(await findKey(sql, id))
    const untilMs = nowMs + (key === null ? REMEMBER_UNKNOWN_MS : REMEMBER_MS)
    known.delete(id)
    unknown.delete(id)
    remember(key === null ? unknown : known, id, { key, readAtMs: nowMs, untilMs })
    return key
  }

  const find = async (id: string) => (id === bootstrap?.id ? bootstrap.key : lookUp(id))

  async function principalById(id: string): Promise<Principal> {
    const found = await find(id)
    if (found === null) throw unauthorized()
    return found.principal
  }

  async function principalOf(key: string | undefined): Promise<Principal> {
    const parts = key === undefined ? null : parseKey(key)
    if (parts === null) throw unauthorized()
    // An unknown id is hashed and compared like a known one, so that the two take the same time.
    const [hash, found] = await Promise.all([hashSecret(parts.secret, sha256), find(parts.id)])
    const isRight = isEqualInConstantTime(hash, found === null ? new Uint8Array(32) : await found.secretHash)
    if (found === null || !isRight) throw unauthorized()
    return found.principal
  }

  return { principalOf, principalById }
}

/** Puts the principal of the request's key into the context, or answers `unauthorized`. */
export function authenticate(principalOf: Keyring['principalOf']) {
  return createMiddleware<HttpEnv>(async (c, next) => {
    const key = /^Bearer (\S+)$/i.exec(c.req.header('authorization') ?? '')?.[1]
    c.set('principal', await principalOf(key))
    await next()
  })
}

function remember(keys: Map<string, Remembered>, id: string, remembered: Remembered): void {
  const [oldest] = keys.keys()
  if (keys.size >= MAX_REMEMBERED && oldest !== undefined) keys.delete(oldest)
  keys.set(id, remembered)
}

function keyOf(stored: StoredKey | null): Remembered['key'] {
  if (stored === null) return null
  const { id: keyId, namespace, secretHash } = stored
  return { secretHash, principal: { keyId, namespace, grants: readGrants(stored.grants), isBootstrap: false } }
}

/** A grant that this build does not know grants nothing here; the others of its key hold. */
function readGrants(stored: unknown): Grant[] {
  return (Array.isArray(stored) ? stored : []).flatMap((one: unknown) => {
    try {
      return [grant.parse(one, 'grant')]
    } catch {
      return []
    }
  })
}

/** The parts of CALLPLANE_ADMIN_KEY; throws where it is none. */
export function bootstrapKey(adminKey: string): KeyParts {
  const parts = parseKey(adminKey)
  if (parts === null)
    throw new Error('CALLPLANE_ADMIN_KEY is not a key: make one with "npx callplane keys create --offline"')
  return parts
}

function bootstrapOf(adminKey: string | undefined) {
  if (adminKey === undefined) return null
  const { id, secret } = bootstrapKey(adminKey)
  const principal: Principal = { keyId: id, namespace: 'default', grants: ALL_GRANTS, isBootstrap: true }
  return { id, key: { secretHash: hashSecret(secret), principal } }
}

/** One sentence for every way to be wrong: it must not tell an unknown key from a wrong secret. */
function unauthorized(): CallplaneError {
  return new CallplaneError(
    'unauthorized',
    'the key is missing, unknown or revoked: send "authorization: Bearer cp_…" with a key of this plane',
  )
}

function isEqualInConstantTime(a: Uint8Array, b: Uint8Array): boolean {
  let difference = a.length ^ b.length
  for (let index = 0; index < a.length; index++) difference |= (a[index] ?? 0) ^ (b[index] ?? 0)
  return difference === 0
}

/**
 * Throws `forbidden` unless the key has the scope, for each of the services that are named. Where none is, whoever goes
 * on must look no further than `reachOf`.
 */
export function authorize(principal: Principal, scope: Scope, services: Iterable<string> = []): void {
  const granted = principal.grants.filter((one) => one.scope === scope)
  if (granted.length === 0) throw new CallplaneError('forbidden', `this key does not have the scope "${scope}"`)
  if (granted.some((one) => one.services === undefined)) return
  const covered = new Set(granted.flatMap((one) => one.services ?? []))
  for (const service of services) {
    if (!covered.has(service)) {
      throw new CallplaneError('forbidden', `this key may not ${scope} the service "${service}"`)
    }
  }
}

/** Throws `forbidden` unless the key has the scope for all services: what it opens knows no services. */
export function authorizeWhole(principal: Principal, scope: Scope): void {
  authorize(principal, scope)
  if (reachOf(principal, scope).services === null) return
  throw new CallplaneError('forbidden', `this key has the scope "${scope}" for some services only`)
}

/** What the key may see with the scope. */
export function reachOf(principal: Principal, scope: Scope): Reach {
  const granted = principal.grants.filter((one) => one.scope === scope)
  const isWhole = granted.some((one) => one.services === undefined)
  return { namespace: principal.namespace, services: isWhole ? null : granted.flatMap((one) => one.services ?? []) }
}
