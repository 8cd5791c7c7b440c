// /v1/keys: make, list and revoke the keys of a namespace.
import { Hono } from 'hono'
import { insertKey, listKeys, revokeKey } from '../db/keys.ts'
import { CallplaneError } from '../protocol/errors.ts'
import { createKeyRequest, hashSecret, KEY_ID_PATTERN, newKey } from '../protocol/keys.ts'
import { either } from './answer.ts'
import { authorizeWhole } from './auth.ts'
import { readMsgpack } from './body.ts'
import type { HttpEnv, Plane } from './context.ts'

export function keyRoutes(plane: Plane): Hono<HttpEnv> {
  const app = new Hono<HttpEnv>()

  app.post('/', async (c) => {
    const principal = c.get('principal')
    authorizeWhole(principal, 'admin')
    const { name, namespace = principal.namespace, grants } = await readMsgpack(c, createKeyRequest)
    if (namespace !== principal.namespace && !principal.isBootstrap) {
      throw new CallplaneError('forbidden', `only the bootstrap key makes keys of another namespace ("${namespace}")`)
    }
    const { id, secret, key } = newKey()
    await insertKey(plane.sql, {
      id,
      namespace,
      name: name ?? null,
      secretHash: await hashSecret(secret),
      // Without absent properties, so that the JSON reads back as grants.
      grants: grants.map(({ scope, services }) => (services === undefined ? { scope } : { scope, services })),
    })
    plane.log({ level: 'info', event: 'key_created', keyId: id, namespace, by: principal.keyId })
    return either(c, { id, namespace, grants, key, ...(name === undefined ? {} : { name }) }, 201)
  })

  app.get('/', async (c) => {
    const principal = c.get('principal')
    authorizeWhole(principal, 'admin')
    const keys = (await listKeys(plane.sql, principal.namespace)).map(({ name, createdAtMs, ...key }) => ({
      ...key,
      namespace: principal.namespace,
      createdAt: new Date(createdAtMs).toISOString(),
      ...(name === null ? {} : { name }),
    }))
    return either(c, { keys })
  })

  app.post('/:id/revoke', async (c) => {
    const principal = c.get('principal')
    authorizeWhole(principal, 'admin')
    const id = c.req.param('id')
    if (!KEY_ID_PATTERN.test(id) || !(await revokeKey(plane.sql, principal.namespace, id))) {
      throw new CallplaneError('not_found', `there is no key ${id.slice(0, 40)} in the namespace of this key`)
    }
    plane.log({ level: 'info', event: 'key_revoked', keyId: id, namespace: principal.namespace, by: principal.keyId })
    return either(c, { id })
  })

  return app
}
