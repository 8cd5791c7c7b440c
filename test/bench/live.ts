// The live queries: the kernel on one core beside db-ivm, and the way from a commit through a peer to a client.
import { fileURLToPath } from 'node:url'
import { pgSql } from '../../src/db/pg.ts'
import { enqueueJobs } from '../../src/jobs/enqueue.ts'
import { migrateDatabase } from '../../src/node.ts'
import { newCallId } from '../../src/protocol/call-id.ts'
import type { CallRequest } from '../../src/protocol/calls.ts'
import { encodePayload } from '../../src/protocol/codec.ts'
import { argsDigest } from '../../src/protocol/digest.ts'
import { from } from '../../src/protocol/from.ts'
import { newKey } from '../../src/protocol/keys.ts'
import { WireClient } from '../live/client.ts'
import { createDatabase, startPostgres } from '../support/postgres.ts'
import { figure, type Figure, type MeasureOptions } from './figures.ts'
import { measureLiveKernel, type KernelFigure } from './live-kernel.ts'
import { percentile } from './measure.ts'
import { start, startCli } from './processes.ts'

const PORT = '18789'
const WRITER = fileURLToPath(new URL('./live-writer.ts', import.meta.url))

export type LiveFigures = Record<string, Figure & { heapMb?: number }>

export async function measureLive({ isQuick, say }: MeasureOptions): Promise<LiveFigures> {
  const kernel = measureLiveKernel({ forMs: isQuick ? 500 : 2_000, say })
  const of = (name: string): Figure & { heapMb?: number } => {
    const [ours, other] = [kernel[`${name}, batch 100`], kernel[`${name}, batch 100, db-ivm`]] as const
    return { ...figure(ours?.perSecond ?? NaN, other?.perSecond ?? null), ...heapOf(ours) }
  }
  const figures: LiveFigures = {
    count_events_per_s: of('count'),
    aggregate_events_per_s: of('aggregates'),
    join_events_per_s: of('join'),
    top_events_per_s: of('top'),
    queries_1000_events_per_s: of('1,000 queries'),
  }

  const postgres = await startPostgres({ shared_buffers: '512MB', max_wal_size: '4GB' })
  const databaseUrl = await createDatabase(postgres.url)
  await migrateDatabase(databaseUrl)
  const key = newKey().key
  const env = { DATABASE_URL: databaseUrl, CALLPLANE_ADMIN_KEY: key }
  const plane = await startCli(['serve', '--port', PORT, '--host', '127.0.0.1'], env, /"listening"/)
  const { sql, close } = pgSql({ connectionString: databaseUrl, max: 4 })
  try {
    const client = await connect(`ws://127.0.0.1:${PORT}/v1/live`, key)

    say('from Postgres through a peer to a client')
    await watch(client, 'states', from('jobs').groupBy('service', 'function', 'state').count().plan)
    const events = isQuick ? 20_000 : 100_000
    const calls = await callsOf(events)
    const began = performance.now()
    const all = client.next(() => client.rows('states').some((row) => row['count'] === events))
    for (let at = 0; at < events; at += 2_000) {
      await Promise.all(
        [0, 1].map((half) =>
          enqueueJobs(sql, 'default', calls.slice(at + half * 1_000, at + half * 1_000 + 1_000), {
            retentionMs: 86_400_000,
          }),
        ),
      )
    }
    await all
    figures['from_postgres_events_per_s'] = figure((events / (performance.now() - began)) * 1_000)

    say('commit → diff, at 500 calls a second')
    await watch(client, 'made', from('jobs').where({ service: 'timed' }).select('id', 'state').plan)
    const writer = await start(WRITER, {
      env: { CALLPLANE_URL: `http://127.0.0.1:${PORT}`, CALLPLANE_KEY: key, FOR_MS: isQuick ? '3000' : '10000' },
      ready: /ready/,
    })
    const tookMs = await latencies(client, sql, isQuick ? 300 : 1_500)
    await writer.stop()
    figures['commit_to_diff_p50_ms'] = figure(percentile(tookMs, 0.5))
    figures['commit_to_diff_p99_ms'] = figure(percentile(tookMs, 0.99))
    client.close()
  } finally {
    await close()
    await plane.stop()
    await postgres.stop()
  }
  return figures
}

function heapOf(of: KernelFigure | undefined): { heapMb?: number } {
  return of === undefined ? {} : { heapMb: Math.round(of.heapMb) }
}

async function connect(url: string, key: string): Promise<WireClient> {
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

async function watch(client: WireClient, name: string, plan: unknown): Promise<void> {
  for (const answer of await client.askAll([
    ['Register', { name, plan }],
    ['Interest', { name }],
  ])) {
    if ('Error' in answer) throw new Error(answer.Error.join(' '))
  }
}

async function callsOf(count: number, service = 'adder'): Promise<CallRequest[]> {
  const args = encodePayload([1], 'args')
  const digest = await argsDigest(args)
  return Array.from({ length: count }, () => ({ id: newCallId(), service, function: 'add', args, argsDigest: digest }))
}

/** From the answer to a create, which has committed then, to its diff at the client; beside what else is written. */
async function latencies(client: WireClient, sql: ReturnType<typeof pgSql>['sql'], count: number): Promise<number[]> {
  const tookMs: number[] = []
  for (const call of await callsOf(count, 'timed')) {
    const told = client.next((result) => 'QueryDiff' in result && JSON.stringify(result).includes(call.id))
    await enqueueJobs(sql, 'default', [call], { retentionMs: 86_400_000 })
    const committedAtMs = performance.now()
    await told
    tookMs.push(Math.max(0, performance.now() - committedAtMs))
  }
  return tookMs
}
