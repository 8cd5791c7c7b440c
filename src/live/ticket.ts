// What lets one peer into another: a text that names the namespace and until when it is good, under a secret of the one that is
// asked, which those alone know who read the table of peers.

/** Longer than the way there takes. */
const GOOD_MS = 30_000
/** Two peers know the database's clock to within a round trip each. */
const MAX_GOOD_MS = 60_000

export function newSecret(): string {
  return base64Url(crypto.getRandomValues(new Uint8Array(32)))
}

/** `nowMs` is the database's time. */
export async function signTicket(namespace: string, secret: string, nowMs: number): Promise<string> {
  const expiresAtMs = Math.floor(nowMs) + GOOD_MS
  const signature = await crypto.subtle.sign('HMAC', await keyOf(secret), bytesToSign(expiresAtMs, namespace))
  return `${expiresAtMs}.${base64Url(new Uint8Array(signature))}.${namespace}`
}

/** The namespace that a ticket is for, if it is one; whether it is good is another question. */
export function namespaceOf(ticket: string): string | null {
  return partsOf(ticket)?.namespace ?? null
}

/** WebCrypto compares in constant time. */
export async function isGood(
  ticket: string,
  { namespace, secret, nowMs }: { namespace: string; secret: string; nowMs: number },
): Promise<boolean> {
  const parts = partsOf(ticket)
  if (parts === null || parts.namespace !== namespace) return false
  const { expiresAtMs, signature } = parts
  const isSigned = await crypto.subtle.verify(
    'HMAC',
    await keyOf(secret),
    signature,
    bytesToSign(expiresAtMs, namespace),
  )
  return isSigned && nowMs < expiresAtMs && expiresAtMs <= nowMs + MAX_GOOD_MS
}

interface Parts {
  expiresAtMs: number
  signature: Uint8Array<ArrayBuffer>
  namespace: string
}

function partsOf(ticket: string): Parts | null {
  const [, digits, text, namespace] = /^(\d{1,15})\.([A-Za-z0-9_-]{43})\.(.+)$/s.exec(ticket) ?? []
  if (digits === undefined || text === undefined || namespace === undefined) return null
  const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'))
  const signature = Uint8Array.from(binary, (char) => char.charCodeAt(0))
  return { expiresAtMs: Number(digits), signature, namespace }
}

function bytesToSign(expiresAtMs: number, namespace: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`callplane peer ${expiresAtMs} ${namespace}`)
}

function keyOf(secret: string): Promise<CryptoKey> {
  const algorithm = { name: 'HMAC', hash: 'SHA-256' }
  return crypto.subtle.importKey('raw', new TextEncoder().encode(secret), algorithm, false, ['sign', 'verify'])
}

function base64Url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '')
}
