// What only a WebSocket has: the upgrade, kinds of messages, pings, and the cookie of the plane's own pages.
import { afterEach, describe, expect, test, vi } from 'vitest'
import { cookieKey } from '../../src/live/cookie-key.ts'
import { BINARY, liveClient, message, PONG, TEXT } from '../support/live-client.ts'
import { echo, turns } from './echo.ts'

afterEach(() => void vi.useRealTimers())

test('the runtime’s own client is served', async () => {
  const { ports } = await echo()
  const socket = new WebSocket(`ws://127.0.0.1:${ports.websocket}/v1/live?from=test`)
  const answer = new Promise<string>((resolve) => {
    socket.addEventListener('open', () => socket.send('["é 世 😀"]'))
    socket.addEventListener('message', ({ data }) => resolve(String(data)))
  })
  expect(await answer).toBe('["é 世 😀"]')
  const closed = new Promise<number>((resolve) => socket.addEventListener('close', ({ code }) => resolve(code)))
  socket.close(1000)
  expect(await closed).toBe(1000)
})

test('a binary message is refused behind the frames before it', async () => {
  const { connect, clients } = await echo()
  const client = await connect('websocket')
  const texts = Array.from({ length: 50 }, (_, index) => message(TEXT, Buffer.from(String(index))))
  await client.sendBytes(
    Buffer.concat([...texts, message(BINARY, Buffer.from('[]')), message(TEXT, Buffer.from('no'))]),
  )
  for (let index = 0; index < 50; index++) expect(await client.next()).toBe(String(index))
  expect(await client.next()).toMatch(/"Error":\[null,"invalid_request",".*binary"/)
  expect(await client.closed).toMatchObject({ code: 1003 })
  expect(clients[0]).toMatchObject({ refused: 'invalid_request' })
  expect(clients[0]?.received).toHaveLength(50)
})

test('a message may come in pieces, with pings in between, but not in endless ones', async () => {
  const { connect, clients } = await echo()
  const client = await connect('websocket')
  const piece = (opcode: number, text: string, isLast: boolean) => message(opcode, Buffer.from(text), { isLast })
  const ping = message(0x9, Buffer.from('there?'))
  await client.sendBytes(
    Buffer.concat([piece(TEXT, '["a', false), ping, piece(0, 'b', false), ping, piece(0, 'c"]', true)]),
  )
  expect(await client.next()).toBe('["abc"]')
  await client.sendBytes(
    Buffer.concat([piece(TEXT, 'a', false), ...Array.from({ length: 100 }, () => piece(0, 'b', false))]),
  )
  client.socket.end()
  expect(await client.closed).toMatchObject({ code: 1008 })
  expect(clients[0]?.refused).toBe('invalid_request')
})

test('a size that is only announced is refused before it comes', async () => {
  const { connect, clients, until } = await echo()
  const client = await connect('websocket')
  const header = message(TEXT, Buffer.alloc(70_000)).subarray(0, 14)
  header.writeBigUInt64BE(10n ** 12n, 2)
  await client.sendBytes(header)
  client.socket.end()
  expect(await client.closed).toMatchObject({ code: 1009 })
  await until(() => clients[0]?.refused === 'payload_too_large')
})

test('who answers pings stays, and who does not is cut off at the next', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  const { connect, clients, until } = await echo()
  const [answering, deaf] = [await connect('websocket'), await connect('websocket', { isDeaf: true })]
  for (const client of [answering, deaf]) client.send('hello')
  for (const client of [answering, deaf]) await client.next()
  const pings = vi.fn<() => void>()
  answering.socket.on('data', pings)
  vi.advanceTimersByTime(30_000)
  await vi.waitUntil(() => pings.mock.calls.length === 1)
  await turns(10)
  expect(clients.map(({ closed }) => closed)).toEqual([0, 0])
  vi.advanceTimersByTime(30_000)
  await until(() => clients[1]?.closed === 1)
  answering.send('still here')
  await vi.waitUntil(() => answering.frames.length === 1)
  expect(clients[0]?.closed).toBe(0)
})

test('pongs are not a first frame', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  const { connect } = await echo()
  const client = await connect('websocket')
  await client.sendBytes(message(PONG, Buffer.alloc(0)))
  await turns(10)
  vi.advanceTimersByTime(10_000)
  expect(await client.closed).toMatchObject({ code: 1008 })
})

test('an upgrade elsewhere is not found', async () => {
  const { connect, clients } = await echo()
  await expect(connect('websocket', { path: '/v1/calls' })).rejects.toThrow('HTTP/1.1 404 Not Found')
  await expect(connect('websocket', { path: '/v1/live/' })).rejects.toThrow('404')
  await expect(connect('websocket', { headers: { 'sec-websocket-key': 'short' } })).rejects.toThrow('400')
  expect(clients).toEqual([])
})

test('a client that offers another protocol with its request is served by the one it speaks', async () => {
  const { ports } = await echo()
  const client = await liveClient('tcp', ports.websocket)
  client.send(
    'POST /v1/calls HTTP/1.1\r\nhost: x\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AA\r\ncontent-length: 4\r\n\r\nbody',
  )
  expect(await client.next()).toBe('HTTP/1.1 200 OK\r')
})

test('a protocol that is not spoken is not promised', async () => {
  const { ports } = await echo()
  const client = await liveClient('tcp', ports.websocket)
  const headers = [
    'connection: Upgrade',
    'upgrade: websocket',
    'sec-websocket-version: 13',
    'sec-websocket-protocol: other',
  ]
  client.send(
    `GET /v1/live HTTP/1.1\r\nhost: x\r\n${headers.join('\r\n')}\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r`,
  )
  const head: string[] = []
  for (let line = await client.next(); line !== '\r'; line = await client.next()) head.push(line)
  expect(head[0]).toMatch(/101/)
  expect(head.join('\n')).not.toMatch(/protocol:/i)
})

describe('the cookie of the plane’s own pages', () => {
  test('gives the key to the peer, from the plane’s own origin alone', async () => {
    const { connect, clients, ports, until } = await echo()
    const own = `http://127.0.0.1:${ports.websocket}`
    const cookie = 'theme=dark; callplane_key=cp_own'
    await connect('websocket', { headers: { cookie, origin: own } })
    await connect('websocket', { headers: { cookie, origin: 'http://127.0.0.1:1' } })
    await connect('websocket', { headers: { cookie } })
    await connect('websocket', { headers: { origin: 'https://other.example' } })
    await until(() => clients.length === 4)
    expect(clients.map(({ key }) => key)).toEqual(['cp_own', undefined, undefined, undefined])
  })

  const page = {
    cookie: 'callplane_key=k',
    origin: 'https://plane.example',
    host: 'plane.example',
    forwardedProto: 'https',
  }
  test.each([
    ['behind a proxy with TLS', page, 'k'],
    ['behind two proxies', { ...page, forwardedProto: 'https, http' }, 'k'],
    ['a page of the same host without TLS', { ...page, origin: 'http://plane.example' }, undefined],
    ['a page of another port', { ...page, origin: 'https://plane.example:444' }, undefined],
    ['a page of a host above', { ...page, origin: 'https://example' }, undefined],
    ['a page of a host that begins alike', { ...page, origin: 'https://plane.example.evil.example' }, undefined],
    ['a page without an origin', { ...page, origin: 'null' }, undefined],
    ['no host', { ...page, host: undefined }, undefined],
    ['two keys', { ...page, cookie: 'callplane_key=k; callplane_key=planted' }, undefined],
    ['an empty key', { ...page, cookie: 'callplane_key=' }, undefined],
    ['a key that is no key', { ...page, cookie: `callplane_key=${'k'.repeat(201)}` }, undefined],
    ['a cookie whose name ends alike', { ...page, cookie: 'not_callplane_key=k' }, undefined],
  ])('%s', (_, headers, key) => {
    expect(cookieKey(headers, { isEncrypted: false })).toBe(key)
  })

  test('with TLS of its own', () => {
    const headers = { ...page, forwardedProto: undefined }
    expect(cookieKey(headers, { isEncrypted: true })).toBe('k')
    expect(cookieKey(headers, { isEncrypted: false })).toBeUndefined()
  })
})
