// /v1/peers: the peers of live queries of a namespace.
import { Hono } from 'hono'
import { findPeers } from '../live/find-peers.ts'
import { either } from './answer.ts'
import { authorizeWhole } from './auth.ts'
import type { HttpEnv, Plane } from './context.ts'

export function peerRoutes(plane: Plane): Hono<HttpEnv> {
  return new Hono<HttpEnv>().get('/', async (c) => {
    const principal = c.get('principal')
    authorizeWhole(principal, 'watch')
    return either(c, { peers: await findPeers(plane.sql, principal.namespace) })
  })
}
