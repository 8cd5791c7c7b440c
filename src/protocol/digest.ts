// The digest that travels beside the arguments: it tells a repeat from another call without reading them.

/** SHA-256 of the payload of the arguments. */
export async function argsDigest(args: Uint8Array): Promise<Uint8Array> {
  // WebCrypto's types ask for a buffer that is not shared; payloads never are.
  return new Uint8Array(await crypto.subtle.digest('SHA-256', args as Uint8Array<ArrayBuffer>))
}
