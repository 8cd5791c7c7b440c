// A client of live queries as a benchmark uses it, and jobs that nobody runs.
import { connect, type Socket } from 'node:net'
import type { Sql } from '../../src/db/sql.ts'
import { enqueueJobs } from '../../src/jobs/enqueue.ts'
import { newCallId } from '../../src/protocol/call-id.ts'
import { encodePayload } from '../../src/protocol/codec.ts'
import { argsDigest } from '../../src/protocol/digest.ts'
import { WireClient } from '../live/client.ts'

const RETENTION_MS = 86_400_000

/** By WebSocket. */
export async function connectLive(url: string, key: string): Promise<WireClient> {
  const socket = new WebSocket(url)
  const client = new WireClient()
  socket.addEventListener('message', ({ data }) => client.get(String(data)))
  socket.addEventListener('close', () => client.closed())
  await new Promise((resolve, reject) => {
    socket.addEventListener('open', resolve)
    socket.addEventListener('error', () => reject(new Error(`no live queries at ${url}`)))
  })
  client.opened({ send: (frame) => socket.send(frame), close: () => socket.close() })
  await client.ask('Auth', { key })
  return client
}

/** By TCP, whose socket can be left unread. */
export async function connectTcp(port: number, key: string): Promise<{ client: WireClient; socket: Socket }> {
  const socket = connect(port, '127.0.0.1')
  const client = new WireClient()
  let rest = ''
  socket.setEncoding('utf8')
  socket.on('data', (text: string) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) client.get(line)
  })
  await new Promise<void>((resolve) => socket.once('connect', resolve))
  client.opened({ send: (frame) => socket.write(`${frame}\n`), close: () => socket.destroy() })
  await client.ask('Auth', { key })
  return { client, socket }
}

export async function watch(client: WireClient, name: string, plan: unknown): Promise<void> {
  for (const answer of await client.askAll([
    ['Register', { name, plan }],
    ['Interest', { name }],
  ])) {
    if ('Error' in answer) throw new Error(answer.Error.join(' '))
  }
}

export async function makeJobs(sql: Sql, count: number, service: string): Promise<void> {
  const args = encodePayload([1], 'args')
  const digest = await argsDigest(args)
  const calls = Array.from({ length: count }, () => ({
    id: newCallId(),
    service,
    function: 'add',
    args,
    argsDigest: digest,
  }))
  await enqueueJobs(sql, 'default', calls, { retentionMs: RETENTION_MS })
}

/** From the answer to a create, which has committed then, to its diff at a client that watches the ids of its service. */
export async function commitToDiffMs(client: WireClient, sql: Sql, service: string): Promise<number> {
  const args = encodePayload([1], 'args')
  const call = { id: newCallId(), service, function: 'add', args, argsDigest: await argsDigest(args) }
  const told = client.next((result) => 'QueryDiff' in result && JSON.stringify(result).includes(call.id))
  await enqueueJobs(sql, 'default', [call], { retentionMs: RETENTION_MS })
  const committedAtMs = performance.now()
  await told
  return Math.max(0, performance.now() - committedAtMs)
}
