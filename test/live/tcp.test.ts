// What only lines have: their ends, and a listener that says where it listens.
import { createServer, type AddressInfo } from 'node:net'
import { expect, onTestFinished, test, vi } from 'vitest'
import { Lines } from '../../src/live/lines.node.ts'
import { isLoopback } from '../../src/live/tcp.node.ts'
import { MAX_LIVE_FRAME_BYTES } from '../../src/protocol/limits.ts'
import { echo } from './echo.ts'
import { memoryBytes } from './memory.ts'

test('a line may end in CRLF, and empty ones are no frames', async () => {
  const { connect, clients } = await echo()
  const client = await connect('tcp')
  await client.sendBytes(Buffer.from('\n\r\n["a"]\r\n\n\n["b\rc"]\n'))
  expect([await client.next(), await client.next()]).toEqual(['["a"]', '["b\rc"]'])
  expect(clients[0]?.received).toHaveLength(2)
})

test('who closes its side has ended: what it sent is heard, but for a line without an end', async () => {
  const { connect, clients, until } = await echo()
  const client = await connect('tcp')
  client.socket.end('["a"]\n["b"]\n["c')
  await until(() => clients[0]?.closed === 1)
  expect(clients[0]).toMatchObject({ received: ['["a"]', '["b"]'], refused: null })
  await client.closed
})

test('every cut of a stream gives the same lines', () => {
  const bytes = Buffer.from('["é"]\r\n\n["世"]\n[]\r\n["😀"]\n["rest')
  for (let first = 0; first <= bytes.length; first++) {
    for (let second = first; second <= bytes.length; second++) {
      const lines = new Lines()
      const cuts = [bytes.subarray(0, first), bytes.subarray(first, second), bytes.subarray(second)]
      expect(cuts.flatMap((cut) => lines.take(cut))).toEqual(['["é"]', '["世"]', '[]', '["😀"]'])
      expect(lines.unfinishedBytes).toBe(6)
    }
  }
})

test('a line is counted without its end', () => {
  const full = 'x'.repeat(MAX_LIVE_FRAME_BYTES)
  for (const [text, fits] of [
    [`${full}\n`, true],
    [`${full}\r\n`, true],
    [`${full}x\n`, false],
    [`${full}x\r\n`, false],
    [`${full}\r\r\n`, false],
  ] as const) {
    for (const cut of [0, 1, MAX_LIVE_FRAME_BYTES, MAX_LIVE_FRAME_BYTES + 1]) {
      const lines = new Lines()
      const found = [text.slice(0, cut), text.slice(cut)].flatMap((part) => lines.take(Buffer.from(part)))
      if (fits) expect(found).toEqual([full])
      else expect(found[0]).toMatchObject({ code: 'payload_too_large' })
    }
  }
})

test('a line in single bytes holds no more than twice what came', async () => {
  const before = await memoryBytes()
  const lines = new Lines()
  for (let sent = 0; sent < MAX_LIVE_FRAME_BYTES; sent++) lines.take(Buffer.alloc(1, 'x'))
  expect((await memoryBytes()) - before).toBeLessThan(3 * MAX_LIVE_FRAME_BYTES)
  expect(lines.unfinishedBytes).toBe(MAX_LIVE_FRAME_BYTES)
})

test('it says where it listens, and that it has no TLS where others reach it', async () => {
  const log = vi.fn<(event: object) => void>()
  await echo({ tcp: { host: '127.0.0.1', port: 0 }, log })
  expect(log.mock.calls).toEqual([
    [{ level: 'info', event: 'live_tcp_listening', address: expect.stringMatching(/^127\.0\.0\.1:[1-9]/) }],
  ])
  await echo({ tcp: { host: '0.0.0.0', port: 0 }, log })
  expect(log).toHaveBeenLastCalledWith(expect.objectContaining({ level: 'warn', event: 'live_tcp_without_tls' }))
  const hosts = ['127.0.0.1', '127.9.9.9', '::1', 'localhost', '0.0.0.0', '::', '127.evil.example', '10.0.0.1']
  expect(hosts.filter(isLoopback)).toEqual(['127.0.0.1', '127.9.9.9', '::1', 'localhost'])
})

test('a port that is taken is named', async () => {
  const blocker = createServer().listen(0, '127.0.0.1')
  onTestFinished(() => void blocker.close())
  await new Promise((resolve) => blocker.once('listening', resolve))
  const { port } = blocker.address() as AddressInfo // it listens on TCP
  await expect(echo({ tcp: { host: '127.0.0.1', port } })).rejects.toThrow(
    new RegExp(`^live queries cannot listen on 127.0.0.1:${port}: .*EADDRINUSE`),
  )
})

test('without an address there is no TCP', async () => {
  const { ports, connect } = await echo({ tcp: undefined })
  expect(ports.tcp).toBe(0)
  const client = await connect('websocket')
  client.send('hello')
  expect(await client.next()).toBe('hello')
})
