// Keys: `cp_` + public id (12) + secret (43 characters, 256 bits) + checksum (6), all base62, one word to double-click.
import { sha256, type Sha256 } from './digest.ts'
import { SCOPES, type Endpoint } from './endpoint.ts'
import { MAX_SERVICES_PER_RUNNER } from './limits.ts'
import { answer, array, boolean, name, object, oneOf, optional, string, type TypeOf } from './shape.ts'

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const ID_CHARS = 12
const SECRET_CHARS = 43
const CHECKSUM_CHARS = 6
/** The public part of a key. */
export const KEY_ID_PATTERN: RegExp = new RegExp(`^[0-9A-Za-z]{${ID_CHARS}}$`)
const KEY_PATTERN = new RegExp(`^cp_[0-9A-Za-z]{${ID_CHARS + SECRET_CHARS + CHECKSUM_CHARS}}$`)

export interface KeyParts {
  /** Public: names the key in lists and logs. */
  id: string
  /** Never stored, never logged. */
  secret: string
}

/** A new key, whole, and its parts. */
export function newKey(): KeyParts & { key: string } {
  const id = randomBase62(ID_CHARS)
  const secret = randomBase62(SECRET_CHARS)
  return { id, secret, key: formatKey({ id, secret }) }
}

/** The key that has these parts. */
export function formatKey({ id, secret }: KeyParts): string {
  return `cp_${id}${secret}${checksum(id + secret)}`
}

/** The parts of a key, or null when it is none: the checksum tells a typo from a revoked key without a look-up. */
export function parseKey(key: string): KeyParts | null {
  if (!KEY_PATTERN.test(key)) return null
  const body = key.slice(3, 3 + ID_CHARS + SECRET_CHARS)
  if (key.slice(3 + ID_CHARS + SECRET_CHARS) !== checksum(body)) return null
  return { id: body.slice(0, ID_CHARS), secret: body.slice(ID_CHARS) }
}

/** SHA-256 of the secret: a random 256-bit secret needs no slow hash. */
export async function hashSecret(secret: string, hash: Sha256 = sha256): Promise<Uint8Array> {
  return hash(new TextEncoder().encode(secret))
}

function randomBase62(length: number): string {
  let text = ''
  while (text.length < length) {
    for (const byte of crypto.getRandomValues(new Uint8Array(length))) {
      // 248 is the largest multiple of 62 in a byte: what is above would favour the first letters.
      if (byte < 248 && text.length < length) text += ALPHABET[byte % 62]
    }
  }
  return text
}

/** CRC-32 in base62, so that scanners of leaked secrets can tell a key from a look-alike. */
function checksum(text: string): string {
  let crc = 0xffffffff
  for (let index = 0; index < text.length; index++) {
    crc ^= text.charCodeAt(index)
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1
  }
  let rest = (crc ^ 0xffffffff) >>> 0
  let encoded = ''
  for (let index = 0; index < CHECKSUM_CHARS; index++) {
    encoded = ALPHABET.charAt(rest % 62) + encoded
    rest = Math.floor(rest / 62)
  }
  return encoded
}

export const grant = object({
  scope: oneOf(SCOPES),
  services: optional(array(name('service'), { min: 1, max: MAX_SERVICES_PER_RUNNER })),
})
/** One scope of a key, for all services of its namespace or for the named ones. */
export type Grant = TypeOf<typeof grant>

export const createKeyRequest = object({
  name: optional(string({ max: 100, description: 'for people' })),
  namespace: optional(name('namespace')),
  grants: array(grant, { min: 1, max: SCOPES.length }),
})

const keyAnswer = {
  id: string({ max: 100, description: 'public part' }),
  namespace: name('namespace'),
  name: optional(string({ max: 100 })),
  grants: array(answer({ scope: oneOf(SCOPES), services: optional(array(name('service'), { max: 100 })) }), {
    max: 10,
  }),
}
const keyListed = answer({
  ...keyAnswer,
  createdAt: string({ max: 40, description: 'ISO 8601' }),
  isRevoked: boolean(),
})
export const keyCreated = answer({ ...keyAnswer, key: string({ max: 100, description: 'shown this once' }) })

/** A key of this namespace may make others of it; the bootstrap key may name any namespace, which is made if need be. */
export const createKey: Endpoint<TypeOf<typeof createKeyRequest>, TypeOf<typeof keyCreated>> = {
  method: 'POST',
  path: '/v1/keys',
  scope: 'admin',
  summary: 'Makes a key and answers it, once.',
  request: createKeyRequest,
  answer: keyCreated,
  form: 'either',
  status: 201,
}

export const listKeysAnswer = answer({ keys: array(keyListed, { max: 10_000 }) })

export const listKeys: Endpoint<never, TypeOf<typeof listKeysAnswer>> = {
  method: 'GET',
  path: '/v1/keys',
  scope: 'admin',
  summary: 'Lists the keys of the namespace, without their secrets.',
  request: null,
  answer: listKeysAnswer,
  form: 'either',
}

export const revokeKeyAnswer = answer({ id: string({ max: 100 }) })

export const revokeKey: Endpoint<never, TypeOf<typeof revokeKeyAnswer>> = {
  method: 'POST',
  path: '/v1/keys/{id}/revoke',
  scope: 'admin',
  summary: 'Revokes a key; it stops within a minute.',
  request: null,
  answer: revokeKeyAnswer,
  form: 'either',
}
