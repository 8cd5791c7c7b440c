// Frames over WebSocket and over TCP: whole, in order, bounded, and each client as if it were alone.
import { afterEach, describe, expect, test, vi } from 'vitest'
import { MAX_LIVE_FRAME_BYTES } from '../../src/protocol/limits.ts'
import { encode, message, TEXT, TRANSPORTS, type Transport } from '../support/live-client.ts'
import { echo, turns } from './echo.ts'
import { memoryBytes } from './memory.ts'

const MIB = 1024 * 1024

/** How a WebSocket says goodbye; TCP just ends. */
const goodbye = (transport: Transport, code: number) => ({ code: transport === 'websocket' ? code : null })

afterEach(() => void vi.useRealTimers())

describe.each(TRANSPORTS)('over %s', (transport) => {
  test('frames go both ways, in their order, in any script', async () => {
    const { connect } = await echo()
    const client = await connect(transport)
    const frames = Array.from({ length: 100 }, (_, index) => `[${index}, "é 世 😀 \\n"]`)
    for (const frame of frames) client.send(frame)
    for (const frame of frames) expect(await client.next()).toBe(frame)
  })

  test('two clients are two connections', async () => {
    const { connect, clients } = await echo()
    const [first, second] = [await connect(transport), await connect(transport)]
    first.send('first')
    second.send('second')
    expect([await first.next(), await second.next()]).toEqual(['first', 'second'])
    expect(clients.map(({ received }) => received)).toEqual([['first'], ['second']])
  })

  test('a frame may come in single bytes', async () => {
    const { connect, clients } = await echo()
    const client = await connect(transport)
    for (const byte of encode(transport, '["é 世 😀"]')) {
      await client.sendBytes(Buffer.of(byte))
      await turns(2)
    }
    expect(await client.next()).toBe('["é 世 😀"]')
    expect(clients[0]?.received).toHaveLength(1)
  })

  test('many frames may come in one packet', async () => {
    const { connect } = await echo()
    const client = await connect(transport)
    const frames = Array.from({ length: 1_000 }, (_, index) => String(index))
    client.send(...frames)
    for (const frame of frames) expect(await client.next()).toBe(frame)
  })

  test('a frame of the full size passes, and one byte more is refused', async () => {
    const { connect, clients, until } = await echo()
    const client = await connect(transport)
    const full = 'x'.repeat(MAX_LIVE_FRAME_BYTES)
    client.send(full)
    expect(await client.next()).toBe(full)
    client.send('before', `${full}x`, 'after')
    expect(await client.next()).toBe('before')
    expect(await client.closed).toMatchObject(goodbye(transport, 1009))
    await until(() => clients[0]?.closed === 1)
    expect(clients[0]).toMatchObject({ refused: 'payload_too_large', closed: 1 })
    expect(clients[0]?.received.length).toBe(2)
  })

  test('a frame without an end costs no more than a full one', async () => {
    const { connect, clients } = await echo({ closeWithinMs: 60_000 })
    const client = await connect(transport, { isStubborn: true })
    const piece = Buffer.alloc(64 * 1024, 'x')
    const begun = await memoryBytes()
    let most = 0
    for (let sent = 0; sent < 100 * MIB; sent += piece.length) {
      await client.sendBytes(transport === 'tcp' ? piece : message(sent === 0 ? TEXT : 0, piece, { isLast: false }))
      if (sent === 0 || sent % (sent < 2 * MIB ? MIB / 2 : 10 * MIB) === 0)
        most = Math.max(most, (await memoryBytes()) - begun)
    }
    expect(client.socket.bytesWritten).toBeGreaterThanOrEqual(100 * MIB)
    expect(most).toBeLessThan(30 * MIB)
    expect(clients[0]).toMatchObject({ refused: 'payload_too_large', received: [] })
    client.socket.end()
    expect(await client.closed).toMatchObject(goodbye(transport, 1009))
    if (transport === 'tcp') expect(client.frames.join()).toMatch(/"Error":\[null,"payload_too_large"/)
  })

  test('what is no UTF-8 is refused', async () => {
    const { connect, clients } = await echo()
    const client = await connect(transport)
    const broken = Buffer.of(0x22, 0xc3, 0x28, 0x22)
    await client.sendBytes(transport === 'tcp' ? Buffer.concat([broken, Buffer.from('\n')]) : message(TEXT, broken))
    if (transport === 'tcp') expect(await client.next()).toMatch(/invalid_request/)
    client.socket.end()
    expect(await client.closed).toMatchObject(goodbye(transport, 1007))
    expect(clients[0]).toMatchObject({ refused: 'invalid_request', received: [] })
  })

  test('garbage ends its own connection at most', async () => {
    const { connect, clients, until } = await echo()
    const other = await connect(transport)
    for (let seed = 1; seed <= 20; seed++) {
      const client = await connect(transport)
      await client.sendBytes(
        Buffer.from(Array.from({ length: 999 }, (_, index) => (seed * 31 + index * index * 7) % 256)),
      )
      client.socket.end()
      await client.closed
    }
    await until(() => clients.slice(1).every(({ closed }) => closed === 1))
    other.send('still here')
    expect(await other.next()).toBe('still here')
  })

  test('the peer sees what a slow reader has not taken, and hears when it has', async () => {
    const { connect, clients, until } = await echo()
    const client = await connect(transport)
    await until(() => clients.length === 1)
    const [seen] = clients
    const frame = 'é'.repeat(32 * 1024)
    client.socket.pause()
    for (let sent = 0; sent < 256; sent++) seen?.connection.send(frame)
    await turns(20)
    // What is not buffered has been taken by the system, for both sides of a connection within one machine.
    expect(seen?.connection.bufferedBytes).toBeGreaterThan(4 * MIB)
    expect(seen?.drained).toBe(0)
    client.socket.resume()
    for (let sent = 0; sent < 256; sent++) expect(await client.next()).toBe(frame)
    await until(() => seen?.drained === 1)
    expect(seen?.connection.bufferedBytes).toBe(0)
  })

  test('a client that says nothing ends after 10 s, and one that has sent a frame does not', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const { connect, clients, until } = await echo()
    const [silent, speaking] = [await connect(transport), await connect(transport)]
    speaking.send('a frame')
    await speaking.next()
    vi.advanceTimersByTime(9_999)
    await turns(5)
    expect(clients.map(({ refused }) => refused)).toEqual([null, null])
    vi.advanceTimersByTime(1)
    expect(await silent.next()).toMatch(/"no frame came within 10 s"/)
    expect(await silent.closed).toMatchObject(goodbye(transport, 1008))
    await until(() => clients[0]?.closed === 1)
    vi.advanceTimersByTime(60_000)
    speaking.send('another')
    expect(await speaking.next()).toBe('another')
  })

  test('of too many that say nothing the oldest ends', async () => {
    const { connect } = await echo({ maxSilent: 2 })
    const first = await connect(transport)
    first.send('hello')
    await first.next()
    const oldest = await connect(transport)
    const others = [await connect(transport), await connect(transport)]
    expect(await oldest.closed).toMatchObject(goodbye(transport, 1008))
    for (const client of [first, ...others]) client.send('here')
    for (const client of [first, ...others]) expect(await client.next()).toBe('here')
  })

  test('one connection too many is turned away, and has its place when another has gone', async () => {
    const { connect, clients, until } = await echo({ maxConnections: 2 })
    const first = await connect(transport)
    await connect(transport === 'tcp' ? 'websocket' : 'tcp')
    await until(() => clients.length === 2)
    const turnedAway = connect(transport).then((client) => client.next())
    await expect(turnedAway).rejects.toThrow(transport === 'tcp' ? /has ended/ : /503/)
    first.socket.end()
    await until(() => clients[0]?.closed === 1)
    const next = await connect(transport)
    next.send('in')
    expect(await next.next()).toBe('in')
  })

  test('frames that have begun and not ended are bounded over all connections', async () => {
    const { connect, clients, until } = await echo({ maxUnfinishedBytes: 300_000, closeWithinMs: 50 })
    const whole = encode(transport, 'x'.repeat(200_000))
    const [begun, rest] = [whole.subarray(0, 160_000), whole.subarray(160_000)]
    const [first, second] = [await connect(transport), await connect(transport)]
    await first.sendBytes(begun)
    await turns(10)
    await second.sendBytes(begun)
    expect(await second.next()).toMatch(/payload_too_large.*unfinished/)
    expect(await second.closed).toMatchObject(goodbye(transport, 1013))
    await first.sendBytes(rest)
    expect(await first.next()).toHaveLength(200_000)
    // What ended, whole or not, counts no more.
    for (let broken = 2; broken < 5; broken++) {
      const client = await connect(transport)
      await client.sendBytes(begun)
      await turns(10)
      client.socket.resetAndDestroy()
      await until(() => clients[broken]?.closed === 1)
      expect(clients[broken]?.refused).toBeNull()
    }
  })

  test('a flood of frames waits its turn', async () => {
    let askOther = (): void => {}
    const order: string[] = []
    const { connect, until } = await echo({
      onFrame(_, frame) {
        if (order.length === 0) askOther()
        order.push(frame)
      },
    })
    const [flooding, other] = [await connect(transport), await connect(transport)]
    askOther = () => other.send('other')
    const flood = Array.from({ length: 50_000 }, (_, index) => String(index))
    flooding.send(...flood)
    await until(() => order.length === 50_001)
    // Its turn, and the few that pass until the network has brought the other's.
    expect(order.indexOf('other')).toBeLessThan(4 * 32)
    expect(order.filter((frame) => frame !== 'other')).toEqual(flood)
  })

  test('what a client sent before it left is heard, and its end once', async () => {
    const { connect, clients, until } = await echo({ onFrame: () => {} })
    const client = await connect(transport)
    const frames = Array.from({ length: 5_000 }, (_, index) => String(index))
    client.send(...frames)
    client.socket.end()
    await until(() => clients[0]?.closed === 1)
    expect(clients[0]?.received).toEqual(frames)
    await turns(10)
    expect(clients[0]?.closed).toBe(1)
  })

  test('a connection that breaks ends once', async () => {
    const { connect, clients, until } = await echo()
    const client = await connect(transport)
    client.send('hello')
    await client.next()
    client.socket.resetAndDestroy()
    await until(() => clients[0]?.closed === 1)
    expect(() => clients[0]?.connection.send('into the void')).not.toThrow()
  })

  test('the peer may end a connection: what it sent arrives, and nothing more is heard', async () => {
    const { connect, clients, until } = await echo({
      onFrame({ connection }, frame) {
        connection.send(frame)
        if (frame === '40') connection.close(`the key is not known: ${'é'.repeat(100)}`)
      },
    })
    const client = await connect(transport)
    const frames = Array.from({ length: 100 }, (_, index) => String(index))
    client.send(...frames)
    for (const frame of frames.slice(0, 41)) expect(await client.next()).toBe(frame)
    const { code, reason } = await client.closed
    if (transport === 'websocket')
      expect([code, reason]).toEqual([1008, expect.stringMatching(/^the key is not known/)])
    await until(() => clients[0]?.closed === 1)
    expect(clients[0]?.received).toEqual(frames.slice(0, 41))
  })

  test('a client that does not take its end is cut off', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const { connect, clients, until } = await echo({ closeWithinMs: 5_000 })
    const client = await connect(transport, { isDeaf: true })
    client.socket.pause()
    await until(() => clients.length === 1)
    for (let sent = 0; sent < 256; sent++) clients[0]?.connection.send('x'.repeat(64 * 1024))
    clients[0]?.connection.close('enough')
    await turns(20)
    vi.advanceTimersByTime(4_999)
    await turns(20)
    expect(clients[0]?.closed).toBe(0)
    vi.advanceTimersByTime(1)
    await until(() => clients[0]?.closed === 1)
  })

  test('when the plane closes every client hears of it, and no new one comes', async () => {
    const { connect, clients, close } = await echo()
    const open = [await connect(transport), await connect(transport)]
    for (const client of open) client.send('hello')
    for (const client of open) await client.next()
    await close()
    for (const client of open) expect(await client.closed).toMatchObject(goodbye(transport, 1001))
    expect(clients.map(({ closed }) => closed)).toEqual([1, 1])
    await expect(connect(transport).then((client) => client.next())).rejects.toThrow('connection')
  })
})
