// Live queries on a whole plane of Node: beside its other requests, and until it closes.
import { createServer, type AddressInfo } from 'node:net'
import { Callplane } from 'callplane'
import { expect, onTestFinished, test } from 'vitest'
import { startEmbedded, type ListenOptions } from '../../src/node.ts'
import { from } from '../../src/protocol/from.ts'
import { temporaryFolder } from '../support/cli.ts'
import { overTcp, overWebSocket } from './stage.ts'

const options: ListenOptions = { host: '127.0.0.1', port: 0 }

test('they are served beside requests, over both transports, until the plane closes', async () => {
  const plane = await startEmbedded(temporaryFolder(), { ...options, liveTcp: { host: '127.0.0.1', port: 0 } })
  onTestFinished(() => plane.close())
  const webSocket = await overWebSocket(`${plane.url.replace('http', 'ws')}/v1/live`)
  const lines = await overTcp(Number(new URL(`tcp://${plane.liveTcp}`).port))
  for (const client of [webSocket, lines]) {
    expect(await client.ask('Auth', { key: plane.key })).toEqual({ Ok: 1 })
    expect(
      await client.askAll([
        ['Register', { name: 'states', plan: from('jobs').groupBy('function', 'state').count().plan }],
        ['Interest', { name: 'states' }],
      ]),
    ).toEqual([{ Ok: 2 }, { Ok: 3 }])
  }
  const callplane = new Callplane({ url: plane.url, key: plane.key })
  const service = callplane.service('greeter', { functions: { hello: (name: string) => `hello ${name}` } })
  await service.start()
  expect(await callplane.client<typeof service>('greeter').hello('Ada')).toBe('hello Ada')
  for (const client of [webSocket, lines]) {
    await expect.poll(() => client.rows('states')).toEqual([{ function: 'hello', state: 'succeeded', count: 1 }])
  }
  expect((await fetch(`${plane.url}/health`)).status).toBe(200)
  await callplane.close()
  await plane.close()
  await expect.poll(() => [webSocket.isClosed, lines.isClosed]).toEqual([true, true])
})

test('a key that may not watch is refused', async () => {
  const plane = await startEmbedded(temporaryFolder(), options)
  onTestFinished(() => plane.close())
  const client = await overWebSocket(`${plane.url.replace('http', 'ws')}/v1/live`)
  expect(await client.ask('Auth', { key: 'cp_nobody' })).toMatchObject({
    Error: [1, 'unauthorized', expect.any(String)],
  })
  await expect.poll(() => client.isClosed).toBe(true)
})

test('a port that is taken fails the start, and lets go of everything', async () => {
  const blocker = createServer().listen(0, '127.0.0.1')
  onTestFinished(() => void blocker.close())
  await new Promise((resolve) => blocker.once('listening', resolve))
  const { port } = blocker.address() as AddressInfo // it listens on TCP
  const dir = temporaryFolder()
  const taken = { host: '127.0.0.1', port }
  await expect(startEmbedded(dir, { ...options, liveTcp: taken })).rejects.toThrow(/^live queries cannot listen/)
  const freeTcp = { host: '127.0.0.1', port: 0 }
  await expect(startEmbedded(dir, { ...options, port, liveTcp: freeTcp })).rejects.toThrow(/EADDRINUSE/)
  await (await startEmbedded(dir, options)).close()
})
