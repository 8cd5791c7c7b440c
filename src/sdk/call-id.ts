// The id of a call, as users give it.
import { wrongValue } from './options.ts'

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/** In lower case, as it travels. Throws `invalid_option` where it is no UUID. */
export function checkedCallId(id: unknown): string {
  if (typeof id !== 'string' || !UUID.test(id)) throw wrongValue('the id of a call', 'a UUID', id)
  return id.toLowerCase()
}
