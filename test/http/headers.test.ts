// What every answer says of itself, whoever made it.
import { expect, test } from 'vitest'
import { encodeBody } from '../../src/protocol/wire.ts'
import { setup } from '../support/plane.ts'
import { aCall } from '../support/wire.ts'

const ORIGIN = 'https://pages.example'

test('every answer has an id, is kept by nobody, and is no page', async () => {
  const { app, key } = await setup({ origins: [ORIGIN] })
  const authorization = `Bearer ${key}`
  const own = { authorization }
  const msgpack = { ...own, 'content-type': 'application/msgpack', accept: 'application/msgpack' }
  const sent = async (body: object): Promise<RequestInit> => ({
    method: 'POST',
    headers: msgpack,
    body: encodeBody(body),
  })
  const calls = [await aCall(), await aCall()]
  const asked: [path: string, status: number, init: RequestInit][] = [
    ['/health', 200, {}],
    ['/ready', 200, {}],
    ['/openapi.json', 200, {}],
    ['/metrics', 200, { headers: own }],
    ['/v1/calls', 200, await sent({ calls })],
    ['/v1/calls/wait', 200, await sent({ ids: calls.map(({ id }) => id), waitMs: 1 })],
    ['/v1/calls/cancel', 200, await sent({ ids: [calls[0]?.id] })],
    [`/v1/calls/${calls[0]?.id}`, 200, { headers: own }],
    [`/v1/calls/${calls[0]?.id}`, 200, { headers: msgpack }],
    ['/v1/calls', 200, { headers: own }],
    ['/v1/call/greeter/hello', 400, { method: 'POST', headers: own, body: '{}' }],
    ['/v1/runners/poll', 200, await sent({ runner: crypto.randomUUID() })],
    ['/v1/keys', 200, { headers: own }],
    ['/v1/peers', 200, { headers: own }],
    ['/v1/peers', 401, {}],
    ['/v1/peers', 401, { headers: { accept: 'application/msgpack' } }],
    ['/v1/nowhere', 404, { headers: own }],
    ['/v1/calls', 200, { ...(await sent({ calls: [await aCall()] })), headers: { ...msgpack, origin: ORIGIN } }],
  ]
  for (const [path, status, init] of asked) {
    const answer = await app.request(path, init)
    const said = Object.fromEntries(answer.headers)
    expect({ path, status: answer.status, ...said }).toMatchObject({
      path,
      status,
      'callplane-request-id': expect.stringMatching(/^[0-9a-f-]{36}$/),
      'cache-control': expect.stringMatching(/^no-store/),
      'x-content-type-options': 'nosniff',
    })
    await answer.arrayBuffer()
  }
  const preflight = await app.request('/v1/calls', {
    method: 'OPTIONS',
    headers: { origin: ORIGIN, 'access-control-request-method': 'POST' },
  })
  expect(Object.fromEntries(preflight.headers)).toMatchObject({
    'access-control-allow-origin': ORIGIN,
    'callplane-request-id': expect.any(String),
    'x-content-type-options': 'nosniff',
  })
})

test.each([
  ['without pages', []],
  ['with pages of other origins', [ORIGIN]],
])('outcomes that come one after the other are held back by nobody, %s', async (_, origins) => {
  const { app, key } = await setup({ origins })
  const calls = [await aCall(), await aCall()]
  const answer = await app.request('/v1/calls', {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/msgpack', origin: ORIGIN },
    body: encodeBody({ calls, waitMs: 1 }),
  })
  expect(Object.fromEntries(answer.headers)).toMatchObject({
    'cache-control': 'no-store, no-transform',
    'x-accel-buffering': 'no',
  })
  await answer.arrayBuffer()
})
