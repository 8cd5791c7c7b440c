// Call ids: UUIDv7, made by the client, so that a repeated create is the same job and rows arrive in the order of time.

/** A new UUIDv7: 48 bits of Unix milliseconds, then 74 random bits. `nowMs` is the caller's clock; the plane checks it. */
export function newCallId(nowMs: number = Date.now()): string {
  const time = nowMs.toString(16).padStart(12, '0')
  // Runtimes keep random bytes ready for this, and not for getRandomValues.
  return `${time.slice(0, 8)}-${time.slice(8)}-7${crypto.randomUUID().slice(15)}`
}

/** The milliseconds that a UUIDv7 carries; of another version, whatever its first 48 bits say. */
export function callIdTimeMs(id: string): number {
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16)
}
