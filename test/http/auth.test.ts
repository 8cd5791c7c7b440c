// Who may do what: keys, scopes, services, namespaces, the bootstrap key.
import { describe, expect, test } from 'vitest'
import { formatKey, newKey, parseKey } from '../../src/protocol/keys.ts'
import { newCallId } from '../../src/protocol/call-id.ts'
import { setup } from '../support/plane.ts'
import { aCall, create, pollOnce, post, succeeded } from '../support/wire.ts'

describe('keys', () => {
  test('no key, a malformed one, an unknown one and a wrong secret get the same answer', async () => {
    const plane = await setup()
    const wrong = `${plane.key.slice(0, 15)}${newKey().key.slice(15)}`
    const bodies = new Set<string>()
    for (const authorization of [
      undefined,
      'Bearer',
      'Bearer cp_x',
      `Basic ${plane.key}`,
      `Bearer ${newKey().key}`,
      `Bearer ${wrong}`,
    ]) {
      const response = await plane.app.request(
        '/v1/keys',
        authorization === undefined ? {} : { headers: { authorization } },
      )
      expect(response.status).toBe(401)
      expect(response.headers.get('www-authenticate')).toBe('Bearer')
      bodies.add(await response.text())
    }
    expect(bodies.size).toBe(1)
  })

  test('another secret behind a known id, well-formed to the checksum, is refused', async () => {
    const plane = await setup()
    const id = parseKey(plane.key)?.id ?? ''
    const forged = formatKey({ id, secret: newKey().secret })
    expect(parseKey(forged)).toMatchObject({ id })
    expect((await post(plane, '/v1/calls', { calls: [await aCall()] }, plane.key)).status).toBe(200)
    expect((await post(plane, '/v1/calls', { calls: [await aCall()] }, forged)).status).toBe(401)
  })

  test('a key that is made works, and shows no secret in lists; a revoked one stops', async () => {
    const plane = await setup()
    const { status, body } = await post(plane, '/v1/keys', {
      name: 'ci',
      grants: [{ scope: 'admin' }, { scope: 'call' }],
    })
    expect(status).toBe(201)
    const { id, key } = body as { id: string; key: string }
    expect((await post(plane, '/v1/calls', { calls: [await aCall()] }, key)).status).toBe(200)
    const list = await plane.app.request('/v1/keys', { headers: { authorization: `Bearer ${key}` } })
    const text = await list.text()
    expect(JSON.parse(text)).toMatchObject({ keys: [{}, { id, name: 'ci', isRevoked: false }] })
    expect(text).not.toContain(key.slice(15, 40))

    // Another isolate, which remembers nothing.
    const elsewhere = await setup({ sql: plane.sql })
    expect((await post(elsewhere, `/v1/keys/${id}/revoke`, {}, elsewhere.key)).status).toBe(404)
    expect((await post(plane, `/v1/keys/${id}/revoke`, {})).status).toBe(200)
    const later = await setup({ sql: plane.sql })
    expect((await post(later, '/v1/calls', { calls: [await aCall()] }, key)).status).toBe(401)
  })

  test('the database holds no secret', async () => {
    const plane = await setup()
    const rows = await plane.sql('select * from callplane.keys where namespace = $1', [plane.namespace])
    expect(JSON.stringify(rows)).not.toContain(plane.key.slice(15, 58))
  })
})

describe('scopes', () => {
  test('each verb asks for its scope', async () => {
    const plane = await setup()
    const call = await plane.newKey([{ scope: 'call' }])
    const serve = await plane.newKey([{ scope: 'serve' }])
    const services = [{ name: 'greeter', slots: 1, functions: [{ name: 'hello' }] }]
    const runner = crypto.randomUUID()
    const attempts: [string, object, string, number][] = [
      ['/v1/calls', { calls: [await aCall()] }, serve, 403],
      ['/v1/calls', { calls: [await aCall()] }, call, 200],
      ['/v1/calls/wait', { ids: [newCallId()] }, serve, 403],
      ['/v1/calls/cancel', { ids: [newCallId()] }, serve, 403],
      ['/v1/runners/register', { runner, services }, call, 403],
      ['/v1/runners/register', { runner, services }, serve, 200],
      ['/v1/runners/poll', { runner }, call, 403],
      ['/v1/runners/leave', { runner }, call, 403],
      ['/v1/keys', { grants: [{ scope: 'call' }] }, call, 403],
    ]
    for (const [path, body, key, status] of attempts)
      expect([path, (await post(plane, path, body, key)).status]).toEqual([path, status])
    for (const [path, key, status] of [
      ['/metrics', call, 403],
      ['/metrics', plane.key, 200],
      ['/v1/keys', serve, 403],
    ] as const) {
      expect((await plane.app.request(path, { headers: { authorization: `Bearer ${key}` } })).status).toBe(status)
    }
  })

  test('a key that rules some services makes no keys, sees none, and no counters', async () => {
    const plane = await setup()
    const limited = await plane.newKey([
      { scope: 'admin', services: ['mailer'] },
      { scope: 'watch', services: ['mailer'] },
    ])
    expect((await post(plane, '/v1/keys', { grants: [{ scope: 'admin' }] }, limited)).status).toBe(403)
    for (const path of ['/v1/keys', '/metrics']) {
      expect((await plane.app.request(path, { headers: { authorization: `Bearer ${limited}` } })).status).toBe(403)
    }
    expect((await post(plane, '/v1/keys/%00/revoke', {})).status).toBe(404)
  })

  test('a key for some services sees nothing of the others', async () => {
    const plane = await setup()
    const key = await plane.newKey([
      { scope: 'call', services: ['greeter'] },
      { scope: 'serve', services: ['greeter'] },
    ])
    const [mine, other] = await Promise.all([aCall(), aCall({ service: 'other' })])
    expect((await post(plane, '/v1/calls', { calls: [mine, other] }, key)).status).toBe(403)
    await create(plane, [mine, other])
    const seen = await post(plane, '/v1/calls/wait', { ids: [mine.id, other.id] }, key)
    expect(seen.body).toEqual([
      { id: other.id, error: { code: 'not_found', message: expect.any(String) } },
      { isComplete: false },
    ])
    const cancelled = await post(plane, '/v1/calls/cancel', { ids: [other.id] }, key)
    expect(cancelled.body).toMatchObject({ calls: [{ error: { code: 'not_found' } }] })
    const status = await plane.app.request(`/v1/calls/${other.id}`, { headers: { authorization: `Bearer ${key}` } })
    expect(status.status).toBe(404)
    const claim = {
      id: crypto.randomUUID(),
      waitMs: 0,
      services: [{ name: 'other', functions: ['hello'], capacity: 1 }],
    }
    expect((await post(plane, '/v1/runners/poll', { runner: crypto.randomUUID(), claim }, key)).status).toBe(403)
  })
})

describe('namespaces', () => {
  test('a thing of another namespace is 404, whoever knows its id and token', async () => {
    const [one, two] = [await setup(), await setup()]
    const call = await aCall()
    await create(one, [call])
    const { jobs } = await pollOnce(one)
    const get = await two.app.request(`/v1/calls/${call.id}`, { headers: { authorization: `Bearer ${two.key}` } })
    expect(get.status).toBe(404)
    const poll = await pollOnce(two, { reports: jobs.map((job) => succeeded(job, 'stolen')) })
    expect(poll).toMatchObject({ reports: [{ error: { code: 'lease_lost' } }], jobs: [] })
    expect((await pollOnce(one, { reports: jobs.map((job) => succeeded(job, 'mine')) })).reports).toEqual([{}])
  })

  test('the bootstrap key makes namespaces and their keys; no other key does', async () => {
    const adminKey = newKey().key
    const plane = await setup({ adminKey })
    const grants = [{ scope: 'admin' as const }]
    const namespace = `fresh_${plane.namespace}`
    expect((await post(plane, '/v1/keys', { namespace, grants })).status).toBe(403)
    const made = await post(plane, '/v1/keys', { namespace, grants }, adminKey)
    expect(made).toMatchObject({ status: 201, body: { namespace } })
    const { key } = made.body as { key: string }
    expect((await post(plane, '/v1/keys', { grants }, key)).body).toMatchObject({ namespace })
    expect((await post(plane, '/v1/keys', { namespace: plane.namespace, grants }, key)).status).toBe(403)
  })

  test('a bootstrap key that is none stops the start', async () => {
    await expect(setup({ adminKey: 'hunter2' })).rejects.toThrow(
      /CALLPLANE_ADMIN_KEY is not a key.*keys create --offline/,
    )
  })
})

test('a key is looked up once for many requests, and never logged', async () => {
  const plane = await setup()
  plane.statements()
  for (let request = 0; request < 5; request++) await create(plane, [await aCall()])
  const lookUps = plane.statements().filter((text) => text.includes('callplane.keys'))
  expect(lookUps).toHaveLength(1)
  expect(JSON.stringify(plane.logged)).not.toContain(plane.key.slice(15, 40))
})

test('a browser of a listed origin may call; no other, and none by default', async () => {
  const preflight = async (origins: string[], origin: string) => {
    const { app } = await setup({ origins })
    const headers = {
      origin,
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'authorization',
    }
    return (await app.request('/v1/calls', { method: 'OPTIONS', headers })).headers.get('access-control-allow-origin')
  }
  expect(await preflight(['https://app.example'], 'https://app.example')).toBe('https://app.example')
  for (const origin of ['https://app.example.evil.test', 'null', 'http://app.example', 'https://evil.test']) {
    expect(await preflight(['https://app.example'], origin)).toBeNull()
  }
  expect(await preflight([], 'https://app.example')).toBeNull()
})
