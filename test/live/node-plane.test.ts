// Live queries on a whole plane of Node: beside its other requests, and until it closes.
import { createServer, type AddressInfo } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import type { Acceptor } from '../../src/live/connection.ts'
import { startEmbedded, type ListenOptions } from '../../src/node.ts'
import { temporaryFolder } from '../support/cli.ts'
import { liveClient } from '../support/live-client.ts'

const options: ListenOptions = { host: '127.0.0.1', port: 0 }

/** A peer that sends back what it gets, and writes down what happened to it. */
function echoingPeer() {
  const told: string[] = []
  const accept: Acceptor['accept'] = (connection) => ({
    receive: (frame) => connection.send(frame),
    refuse: () => {},
    drained: () => {},
    closed: () => told.push('a client has gone'),
  })
  return { told, live: () => ({ accept, close: () => void told.push('closed') }) }
}

test('they are served beside requests, over both transports, until the plane closes', async () => {
  const { live, told } = echoingPeer()
  const plane = await startEmbedded(temporaryFolder(), { ...options, live, liveTcp: { host: '127.0.0.1', port: 0 } })
  onTestFinished(() => plane.close())
  const port = (address: string): number => Number(new URL(address).port)
  const webSocket = await liveClient('websocket', port(plane.url))
  const lines = await liveClient('tcp', port(`tcp://${plane.liveTcp}`))
  for (const client of [webSocket, lines]) {
    client.send('hello')
    expect(await client.next()).toBe('hello')
  }
  expect((await fetch(`${plane.url}/health`)).status).toBe(200)
  await plane.close()
  expect(await webSocket.closed).toMatchObject({ code: 1001 })
  await lines.closed
  expect(told).toEqual(['a client has gone', 'a client has gone', 'closed'])
})

test('without a peer there are none, and an upgrade is a request like any other', async () => {
  const plane = await startEmbedded(temporaryFolder(), options)
  onTestFinished(() => plane.close())
  expect(plane.liveTcp).toBeNull()
  await expect(liveClient('websocket', Number(new URL(plane.url).port))).rejects.toThrow('401')
})

test('a port that is taken fails the start, and lets go of everything', async () => {
  const { live, told } = echoingPeer()
  const blocker = createServer().listen(0, '127.0.0.1')
  onTestFinished(() => void blocker.close())
  await new Promise((resolve) => blocker.once('listening', resolve))
  const { port } = blocker.address() as AddressInfo // it listens on TCP
  const dir = temporaryFolder()
  const taken = { host: '127.0.0.1', port }
  await expect(startEmbedded(dir, { ...options, live, liveTcp: taken })).rejects.toThrow(/^live queries cannot listen/)
  const freeTcp = { host: '127.0.0.1', port: 0 }
  await expect(startEmbedded(dir, { ...options, port, live, liveTcp: freeTcp })).rejects.toThrow(/EADDRINUSE/)
  expect(told).toEqual(['closed', 'closed'])
  await (await startEmbedded(dir, { ...options, live })).close()
})
