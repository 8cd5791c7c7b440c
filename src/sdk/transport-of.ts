// The way from a Callplane to its transport: for the SDK's other doors, and not part of what users see.
import { CallplaneError } from '../protocol/errors.ts'
import type { Transport } from './transport.ts'

/** Of each Callplane, its own. */
export const transports: WeakMap<object, Transport> = new WeakMap()

/** Throws `invalid_option` for what is no Callplane, or one of another copy of the SDK. */
export function transportOf(plane: object): Transport {
  const transport = transports.get(plane)
  if (transport === undefined) throw new CallplaneError('invalid_option', 'admin needs a Callplane of this package')
  return transport
}
