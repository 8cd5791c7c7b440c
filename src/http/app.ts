// The control plane as one Hono app, the same on every host.
import { Hono } from 'hono'
import { cors } from 'hono/cors'
import { createMiddleware } from 'hono/factory'
import type { Bell } from '../bell/bell.ts'
import { withRetry, type Sql } from '../db/sql.ts'
import { groupedTransitions, transitions } from '../jobs/transitions.ts'
import { sha256 as webSha256, type Sha256 } from '../protocol/digest.ts'
import { CallplaneError } from '../protocol/errors.ts'
import { answering, errorAnswer } from './answer.ts'
import { authenticate, newKeyring, type Keyring } from './auth.ts'
import { callOperationRoutes } from './call-operations.ts'
import { callRoutes } from './calls.ts'
import type { HttpEnv, LogEvent, Plane } from './context.ts'
import { newHandover } from './handover.ts'
import { healthRoutes, metricsRoutes } from './health.ts'
import { jsonDoorRoutes } from './json-door.ts'
import { keyRoutes } from './keys.ts'
import { createMetrics } from './metrics.ts'
import { openApiDocument } from './openapi.ts'
import { newOutage } from './outage.ts'
import { peerRoutes } from './peers.ts'
import { runnerRoutes } from './runners.ts'

const DEFAULT_RETENTION_MS = 7 * 86_400_000

export interface AppOptions {
  sql: Sql
  bell: Bell
  /** The bootstrap key, which rules the whole plane. Default none. */
  adminKey?: string | undefined
  /** Origins of browser callers, exactly as browsers send them. Default none. */
  origins?: readonly string[]
  /** Default: nothing is logged. */
  log?: (event: LogEvent) => void
  /** How long finished jobs stay. Default 7 days. */
  retentionMs?: number
  /**
   * For a host that answers many requests in one process: those that come together share statements, and calls are handed
   * over to the polls that wait. It calls back when the requests of one turn are here. Default: each is by itself.
   */
  gather?: (run: () => void) => void
  /** Default: WebCrypto's. */
  sha256?: Sha256
}

export interface App {
  fetch: (request: Request, ...rest: unknown[]) => Response | Promise<Response>
  request: Hono<HttpEnv>['request']
  plane: Plane
  /** For what is no request: a socket that brings its key. */
  principalOf: Keyring['principalOf']
  /** For a socket that brought it before. */
  principalById: Keyring['principalById']
}

/** Wires the handlers to a database and a bell. */
export function createApp({
  sql,
  bell,
  adminKey,
  origins = [],
  log = () => {},
  retentionMs = DEFAULT_RETENTION_MS,
  gather,
  sha256 = webSha256,
}: AppOptions): App {
  const retrying = withRetry(sql)
  const handover = gather === undefined ? null : newHandover()
  const single = transitions(retrying, { retentionMs, reserve: handover?.reserve })
  const plane: Plane = {
    sql: retrying,
    transitions: gather === undefined ? single : groupedTransitions(single, gather),
    bell,
    handover,
    sha256,
    metrics: createMetrics(),
    log,
    retentionMs,
    sweeps: { lastAtMs: -Infinity, toldAtMs: -Infinity, askedAtMs: -Infinity, outage: newOutage() },
  }
  const app = new Hono<HttpEnv>()

  app.use(observe(plane))
  if (origins.length > 0) {
    const exposeHeaders = ['callplane-call-id', 'callplane-request-id', 'retry-after']
    app.use(
      '/v1/*',
      cors({ origin: [...origins], allowHeaders: ['authorization', 'content-type'], exposeHeaders, maxAge: 600 }),
    )
  }
  app.route('/', healthRoutes(plane))
  app.get('/openapi.json', (c) => answering(c).json(openApiDocument()))

  const { principalOf, principalById } = newKeyring(plane, { adminKey })
  const auth = authenticate(principalOf)
  app.use('/v1/*', auth)
  app.use('/v1/*', armForWrites(plane))
  app.use('/metrics', auth)
  app.route('/metrics', metricsRoutes(plane))
  app.route('/v1/calls', callRoutes(plane))
  app.route('/v1/calls', callOperationRoutes(plane))
  app.route('/v1/call', jsonDoorRoutes(plane))
  app.route('/v1/runners', runnerRoutes(plane))
  app.route('/v1/keys', keyRoutes(plane))
  app.route('/v1/peers', peerRoutes(plane))

  app.notFound((c) => {
    const message = `there is no ${c.req.method} ${c.req.path.slice(0, 200)}: see /openapi.json`
    return errorAnswer(plane, c, new CallplaneError('not_found', message))
  })
  app.onError((error, c) => errorAnswer(plane, c, error))
  return { fetch: app.fetch as App['fetch'], request: app.request, plane, principalOf, principalById } // Hono's second argument is the platform's
}

/** These write now and then, and arm the bell by themselves. */
const WAITING = new Set(['/v1/runners/poll', '/v1/calls/wait'])

/** Arms the bell before whatever a request may commit. */
function armForWrites({ bell }: Plane) {
  return createMiddleware<HttpEnv>(async (c, next) => {
    if (c.req.method !== 'GET' && !WAITING.has(c.req.path)) await bell.arm(c.get('principal').namespace)
    await next()
  })
}

/** Gives each request an id, and counts how it was answered. */
function observe(plane: Plane) {
  return createMiddleware<HttpEnv>(async (c, next) => {
    const requestId = crypto.randomUUID()
    c.set('requestId', requestId)
    await next()
    // An answer that a library has made.
    if (!c.res.headers.has('callplane-request-id')) answering(c)
    plane.metrics.count('callplane_requests_total', {
      route: `${c.req.method} ${c.req.routePath}`,
      status: String(c.res.status),
    })
  })
}
