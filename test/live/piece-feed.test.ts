// A piece that another peer tells of: whatever is at its address, this peer goes on.
import { createServer, type AddressInfo } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocketServer } from 'ws'
import { dial } from '../../src/live/dial.node.ts'
import { remoteFeed } from '../../src/live/piece-feed.ts'
import type { LiveResult } from '../../src/protocol/live.ts'

/** What is heard from an address, and whether the peer there counts as lost. */
function listen(address: string) {
  const heard: LiveResult[] = []
  const failures: string[] = []
  let isLost = false
  const lost = (): void => void (isLost = true)
  const feed = remoteFeed(
    { address, ticket: Promise.resolve('ticket'), dial, lost },
    { name: 'q', piece: 1, tick: 7 },
    { told: (result) => heard.push(result), failed: ({ code }) => failures.push(code) },
  )
  onTestFinished(() => feed.close())
  return { feed, heard, failures, isLost: () => isLost }
}

async function serve(answers: readonly string[]) {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', path: '/v1/live' })
  onTestFinished(() => server.close())
  const asked: unknown[] = []
  server.on('connection', (socket) => {
    socket.on('message', (data: Buffer) => {
      asked.push(JSON.parse(data.toString('utf8')))
      for (const answer of answers) socket.send(answer)
    })
  })
  await new Promise((resolve) => server.once('listening', resolve))
  return { asked, address: `http://127.0.0.1:${(server.address() as AddressInfo).port}` } // it listens on TCP
}

test('the ticket and the request are the first frame, and results are heard', async () => {
  const progress = { Progress: ['q#1', 9] as const }
  const { asked, address } = await serve([JSON.stringify({ Ok: 'peer' }), JSON.stringify(progress)])
  const { heard, failures } = listen(address)
  await expect.poll(() => heard).toContainEqual(progress)
  const request = { id: 'piece', Interest: { name: 'q', piece: 1, tick: 7 } }
  expect(asked).toEqual([[{ id: 'peer', Auth: { peer: 'ticket' } }, request]])
  expect(failures).toEqual([])
})

test('a refusal of the request is told, and the peer is not lost; one of the ticket is as good as no peer', async () => {
  const request = listen((await serve([JSON.stringify({ Error: ['piece', 'query_stopped', 'too much'] })])).address)
  await expect.poll(() => request.failures).toEqual(['query_stopped'])
  expect(request.isLost()).toBe(false)
  const ticket = listen((await serve([JSON.stringify({ Error: ['peer', 'unauthorized', 'no'] })])).address)
  await expect.poll(() => ticket.failures).toEqual(['closed'])
  expect(ticket.isLost()).toBe(true)
})

test.each(['hello', 'null', '7', '{"Error":7}'])('what answers %s is no peer', async (answer) => {
  const { failures, isLost } = listen((await serve([answer, answer])).address)
  await expect.poll(() => failures).toEqual(['closed'])
  expect(isLost()).toBe(true)
})

test('where nobody is, or no address, that is said once', async () => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo // it listens on TCP
  await new Promise((resolve) => server.close(resolve))
  for (const address of [`http://127.0.0.1:${port}`, 'nowhere', '']) {
    const { failures, isLost } = listen(address)
    await expect.poll(() => failures).toEqual(['closed'])
    expect(isLost()).toBe(true)
  }
})

test('a feed that was closed hears nothing', async () => {
  const { asked, address } = await serve([JSON.stringify({ Progress: ['q#1', 9] })])
  const { feed, heard, failures } = listen(address)
  const other = listen(address)
  feed.close()
  await expect.poll(() => other.heard).toHaveLength(1)
  expect([asked.length, heard, failures]).toEqual([1, [], []])
})
