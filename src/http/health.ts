// /health, /ready and /metrics: for those who run the plane.
import { Hono } from 'hono'
import { checkSchema } from '../db/migrate.ts'
import { answering } from './answer.ts'
import { authorizeWhole } from './auth.ts'
import type { HttpEnv, Plane } from './context.ts'

/** Open to all: whether the process lives, and whether it can serve. */
export function healthRoutes(plane: Plane): Hono<HttpEnv> {
  return new Hono<HttpEnv>()
    .get('/health', (c) => answering(c).json({ status: 'ok' }))
    .get('/ready', async (c) => {
      // A newer schema is the other half of an upgrade: it came first, and this build goes on until it is replaced.
      await checkSchema(plane.sql, { isNewerFine: true })
      return answering(c).json({ status: 'ready' })
    })
}

/** Counters tell of traffic, so that they ask for a key with the scope `watch`. */
export function metricsRoutes(plane: Plane): Hono<HttpEnv> {
  return new Hono<HttpEnv>().get('/', (c) => {
    authorizeWhole(c.get('principal'), 'watch')
    return answering(c).text(plane.metrics.text(), 200, { 'content-type': 'text/plain; version=0.0.4' })
  })
}
