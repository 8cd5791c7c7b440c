// The live queries: the kernel on one core beside db-ivm, and the way from a commit through a peer to a client.
import { fileURLToPath } from 'node:url'
import { pgSql } from '../../src/db/pg.ts'
import { migrateDatabase } from '../../src/node.ts'
import { from } from '../../src/protocol/from.ts'
import { newKey } from '../../src/protocol/keys.ts'
import { createDatabase, startPostgres } from '../support/postgres.ts'
import { figure, type Figure, type MeasureOptions } from './figures.ts'
import { commitToDiffMs, connectLive, makeJobs, watch } from './live-client.ts'
import { firstSnapshotMs, makeOldEvents, measureFloods } from './live-floods.ts'
import { measureLiveKernel, type KernelFigure } from './live-kernel.ts'
import { measureWakes } from './live-wakes.ts'
import { percentile } from './measure.ts'
import { start, startCli } from './processes.ts'

const PORT = '18789'
const TCP_PORT = 18_790
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
  const env = { DATABASE_URL: databaseUrl, CALLPLANE_ADMIN_KEY: key, CALLPLANE_LIVE_TCP: `:${TCP_PORT}` }
  const { sql, close } = pgSql({ connectionString: databaseUrl, max: 4 })
  const old = isQuick ? 200_000 : 5_000_000
  say(`${old} events from before anybody watched`)
  await makeOldEvents(sql, old)
  const plane = await startCli(['serve', '--port', PORT, '--host', '127.0.0.1'], env, /"listening"/)
  const url = `ws://127.0.0.1:${PORT}/v1/live`
  try {
    figures['first_snapshot_ms'] = figure(await firstSnapshotMs({ url, key }))
    const client = await connectLive(url, key)

    say('from Postgres through a peer to a client')
    await watch(client, 'states', from('jobs').groupBy('service', 'function', 'state').count().plan)
    const events = isQuick ? 20_000 : 100_000
    const began = performance.now()
    const all = client.next(() => client.rows('states').some((row) => row['count'] === events))
    for (let at = 0; at < events; at += 2_000) {
      await Promise.all([makeJobs(sql, 1_000, 'adder'), makeJobs(sql, 1_000, 'adder')])
    }
    await all
    figures['from_postgres_events_per_s'] = figure((events / (performance.now() - began)) * 1_000)

    say('commit → diff, at 500 calls a second')
    await watch(client, 'made', from('jobs').where({ service: 'timed' }).select('id', 'state').plan)
    const writer = await start(WRITER, {
      env: { CALLPLANE_URL: `http://127.0.0.1:${PORT}`, CALLPLANE_KEY: key, FOR_MS: isQuick ? '3000' : '10000' },
      ready: /ready/,
    })
    const tookMs: number[] = []
    for (let n = 0; n < (isQuick ? 300 : 1_500); n++) tookMs.push(await commitToDiffMs(client, sql, 'timed'))
    await writer.stop()
    figures['commit_to_diff_p50_ms'] = figure(percentile(tookMs, 0.5))
    figures['commit_to_diff_p99_ms'] = figure(percentile(tookMs, 0.99))
    client.close()
    Object.assign(figures, await measureFloods({ plane, url, tcpPort: TCP_PORT, key, sql, isQuick, say }))
  } finally {
    await close()
    await plane.stop()
    await postgres.stop()
  }
  Object.assign(figures, await measureWakes({ isQuick, say }))
  return figures
}

function heapOf(of: KernelFigure | undefined): { heapMb?: number } {
  return of === undefined ? {} : { heapMb: Math.round(of.heapMb) }
}
