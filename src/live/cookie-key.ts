// The key of the plane's own pages, which a browser sends as a cookie that no script can read.

/** HttpOnly and SameSite=Strict, which whoever sets it sees to. */
const KEY_COOKIE = 'callplane_key'

const MAX_KEY_CHARS = 200

/** Headers of a request, by their names in lower case. */
export interface PageHeaders {
  cookie?: string | undefined
  origin?: string | undefined
  host?: string | undefined
  /** By the proxy in front that has the TLS. A page cannot set it, and only pages have something to gain. */
  forwardedProto?: string | undefined
}

/**
 * The cookie's key, where the request comes from a page of the plane's own origin, to the letter. Cookies do not tell ports
 * apart and pages of any origin may open a WebSocket, so that without this another page would use the key of whoever looks
 * at it. Of two cookies one was planted, and neither is taken.
 */
export function cookieKey(headers: PageHeaders, { isEncrypted }: { isEncrypted: boolean }): string | undefined {
  if (headers.origin === undefined || headers.origin !== ownOrigin(headers, { isEncrypted })) return undefined
  const pairs = (headers.cookie ?? '').split(';').map((pair) => pair.trim())
  const [key, ...others] = pairs.flatMap((pair) =>
    pair.startsWith(`${KEY_COOKIE}=`) ? [pair.slice(KEY_COOKIE.length + 1)] : [],
  )
  if (key === undefined || key === '' || key.length > MAX_KEY_CHARS || others.length > 0) return undefined
  return key
}

function ownOrigin({ host, forwardedProto }: PageHeaders, { isEncrypted }: { isEncrypted: boolean }): string | null {
  if (host === undefined) return null
  const scheme = forwardedProto?.split(',')[0]?.trim() ?? (isEncrypted ? 'https' : 'http')
  return `${scheme}://${host}`
}
