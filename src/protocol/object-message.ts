// The version of what objects tell each other: each deploy begins them anew one by one, and old ones meet new ones.

/** Raised with every change of a message that an object of before would misunderstand. */
export const OBJECT_MESSAGE_VERSION = 1

export interface ObjectMessage {
  v: typeof OBJECT_MESSAGE_VERSION
}

/** Throws where the message is of another version: the sender tries again later, when both are of one build. */
export function checkVersion({ v }: { v?: unknown }): void {
  if (v === OBJECT_MESSAGE_VERSION) return
  throw new Error(`a message of version ${String(v)} came to an object that knows version ${OBJECT_MESSAGE_VERSION}`)
}

/** The answer of an object, which may be slow to start, or never answer: then this throws that `who` does not. */
export async function answeredWithin<T>(ms: number, answer: Promise<T>, who: string): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new Error(`${who} does not answer`)), ms)
  try {
    return await Promise.race([answer, promise])
  } finally {
    clearTimeout(timer)
  }
}
