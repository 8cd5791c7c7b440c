// A client of live queries as a benchmark uses it, and jobs that nobody runs.
import type { Sql } from '../../src/db/sql.ts'
import { enqueueJobs } from '../../src/jobs/enqueue.ts'
import { newCallId } from '../../src/protocol/call-id.ts'
import { encodePayload } from '../../src/protocol/codec.ts'
import { argsDigest } from '../../src/protocol/digest.ts'
import type { WireClient } from '../live/client.ts'
import { openWebSocket } from '../live/sockets.ts'

const RETENTION_MS = 86_400_000

/** By WebSocket. */
export async function connectLive(url: string, key: string): Promise<WireClient> {
  const client = await openWebSocket(url)
  await client.ask('Auth', { key })
  return client
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
