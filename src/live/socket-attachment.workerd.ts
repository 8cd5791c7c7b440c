// What is attached to a client's socket, so that its session outlives the memory of the object that holds it.
import type { DurableObjectStorage, WebSocket as WorkerSocket } from '@cloudflare/workers-types'
import type { Interest } from './audience.ts'

export interface Attached {
  acceptedAtMs: number
  /** Whose it is: the public id of the key, never the key. Null: no key has come. */
  guest: { namespace: string; keyId: string } | null
  /** With the tick that it was told last; null: it had asked for something that was not answered yet. */
  interests: readonly Interest[] | null
}

/** As it is attached: where the interests are too many, it names their place on the disk. */
type OnSocket = Attached | (Omit<Attached, 'interests'> & { place: string })

/** An attachment holds 16 KiB; of a text, a character may take two bytes. */
const MAX_CHARS = 7_000

/** Attaches it, unless it is there already. */
export async function attach(storage: DurableObjectStorage, socket: WorkerSocket, next: Attached): Promise<Attached> {
  const before = onSocket(socket)
  const { interests, ...rest } = next
  const text = JSON.stringify(interests)
  if (interests === null || text.length <= MAX_CHARS) {
    if (!('interests' in before) || JSON.stringify(before) !== JSON.stringify(next)) write(socket, next)
    if ('place' in before) await storage.delete(before.place)
    return next
  }
  const place = 'place' in before ? before.place : `interests ${crypto.randomUUID()}`
  await storage.put(place, text)
  if (!('place' in before)) write(socket, { ...rest, place })
  return next
}

/** Without what is on the disk. */
export function attachedTo(socket: WorkerSocket): Omit<Attached, 'interests'> & { interests: readonly Interest[] } {
  const { acceptedAtMs, guest, ...rest } = onSocket(socket)
  return { acceptedAtMs, guest, interests: 'interests' in rest ? (rest.interests ?? []) : [] }
}

export async function attachedWhole(storage: DurableObjectStorage, socket: WorkerSocket): Promise<Attached> {
  const attached = onSocket(socket)
  if ('interests' in attached) return attached
  const { place, ...rest } = attached
  const text = await storage.get<string>(place)
  return { ...rest, interests: text === undefined ? null : (JSON.parse(text) as Interest[]) } // as attach wrote it
}

/** The socket has gone. */
export async function forgetAttached(storage: DurableObjectStorage, socket: WorkerSocket): Promise<void> {
  const attached = onSocket(socket)
  if ('place' in attached) await storage.delete(attached.place)
}

function onSocket(socket: WorkerSocket): OnSocket {
  return socket.deserializeAttachment() as OnSocket // the object attaches one as it accepts it
}

function write(socket: WorkerSocket, attached: OnSocket): void {
  try {
    socket.serializeAttachment(attached)
  } catch {
    // It is just going.
  }
}
