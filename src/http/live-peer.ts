// What a peer of live queries is given by the plane, on any host: whose a key is, the bell, and the queries that all have.
import type { PeerOptions } from '../live/peer.ts'
import { BUILT_IN_QUERIES } from '../protocol/built-in-queries.ts'
import { CallplaneError } from '../protocol/errors.ts'
import { parsePlan } from '../protocol/parse-plan.ts'
import { RELATIONS } from '../protocol/relations.ts'
import type { App } from './app.ts'
import { authorizeWhole } from './auth.ts'

/** In the form that plans of clients get too, so that equal ones are one query. */
const BUILT_IN = new Map(Array.from(BUILT_IN_QUERIES, ([name, plan]) => [name, parsePlan(plan, RELATIONS).plan]))

export function livePeerOptions({ plane, principalOf }: App) {
  return {
    async authenticate(key) {
      const principal = await principalOf(key)
      authorizeWhole(principal, 'watch')
      return { namespace: principal.namespace, keyId: principal.keyId }
    },
    arm: (namespace) => plane.bell.arm(namespace),
    builtIn: BUILT_IN,
  } satisfies Partial<PeerOptions>
}

/** Throws where a key that was right before may no longer watch the namespace. */
export async function recheckKey({ principalById }: App, keyId: string, namespace: string): Promise<void> {
  const principal = await principalById(keyId)
  authorizeWhole(principal, 'watch')
  if (principal.namespace !== namespace) throw new CallplaneError('forbidden', 'the key is of another namespace')
}
