// The digest that travels beside the arguments: it tells a repeat from another call without reading them.

/** A runtime may have one that answers at once: WebCrypto goes through a queue of jobs, which costs thirty times as much. */
export type Sha256 = (bytes: Uint8Array) => Uint8Array | Promise<Uint8Array>

/** By WebCrypto, which every runtime has. */
export async function sha256(bytes: Uint8Array): Promise<Uint8Array> {
  // WebCrypto's types ask for a buffer that is not shared; ours never are.
  return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>))
}

/** SHA-256 of the payload of the arguments. */
export function argsDigest(args: Uint8Array): Promise<Uint8Array> {
  return sha256(args)
}
