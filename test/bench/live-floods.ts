// Live queries where others are loud: a flood of commands, a flood of events, millions of old events, a client that stops
// reading.
import type { Sql } from '../../src/db/sql.ts'
import { from } from '../../src/protocol/from.ts'
import { openTcp } from '../live/sockets.ts'
import { figure, type Figures } from './figures.ts'
import { commitToDiffMs, connectLive, makeJobs, watch } from './live-client.ts'
import { percentile } from './measure.ts'
import { rssMb, type Child } from './processes.ts'

export interface FloodOptions {
  plane: Child
  url: string
  /** Of the other transport. */
  tcpPort: number
  key: string
  sql: Sql
  isQuick: boolean
  say: (what: string) => void
}

/** Events from before anybody watched, as so many jobs would have left them. */
export async function makeOldEvents(sql: Sql, count: number): Promise<void> {
  for (let at = 0; at < count; at += 100_000) {
    await sql(
      /* sql */ `
      insert into callplane.events (namespace, subject_id, at, to_state, service, function, priority, created_at, run_at,
        fence, attempt)
      select 'default', gen_random_uuid(), now() - interval '1 hour', 'pending', 'old', 'add', 0, now(), now(), 0, 0
      from generate_series(1, $1::int8)`,
      [Math.min(100_000, count - at)],
    )
  }
}

/** From the connection of the first watcher to its rows. */
export async function firstSnapshotMs({ url, key }: Pick<FloodOptions, 'url' | 'key'>): Promise<number> {
  const beganMs = performance.now()
  const client = await connectLive(url, key)
  await watch(client, 'first', from('jobs').groupBy('service', 'state').count().plan)
  const tookMs = performance.now() - beganMs
  client.close()
  return tookMs
}

export async function measureFloods(options: FloodOptions): Promise<Figures> {
  const { say } = options
  say('a flood of commands: what another client hears')
  const diffMs = await commandFlood(options)
  say('a flood of events: how long a command takes')
  const commandMs = await eventFlood(options)
  say('a client that stops reading')
  const stopped = await stoppedReader(options)
  return {
    command_flood_diff_p50_ms: figure(percentile(diffMs, 0.5)),
    command_flood_diff_p99_ms: figure(percentile(diffMs, 0.99)),
    event_flood_command_p50_ms: figure(percentile(commandMs, 0.5)),
    event_flood_command_max_ms: figure(Math.max(...commandMs)),
    ...stopped,
  }
}

/** 50,000 commands as fast as one client can send them; from commit to diff at another. */
async function commandFlood({ url, key, sql, isQuick }: FloodOptions): Promise<number[]> {
  const [flooding, other] = [await connectLive(url, key), await connectLive(url, key)]
  await watch(other, 'heard', from('jobs').where({ service: 'heard' }).select('id').plan)
  await flooding.ask('CreateAttribute', { name: 'noise', columns: [{ name: 'n', type: 'int' }] })
  const count = isQuick ? 10_000 : 50_000
  let answered = 0
  let id = 1_000_000
  const all = flooding.next((result) => 'Ok' in result && Number(result.Ok) >= 1_000_000 && ++answered === count)
  for (let at = 0; at < count; at += 1_000) {
    const row = { n: at }
    const frame = Array.from({ length: 1_000 }, () => ({
      id: id++,
      Transact: { changes: [{ relation: 'noise', row }] },
    }))
    flooding.raw(JSON.stringify(frame))
  }
  const over = new AbortController()
  void all.finally(() => over.abort())
  const tookMs: number[] = []
  while (!over.signal.aborted) tookMs.push(await commitToDiffMs(other, sql, 'heard'))
  flooding.close()
  other.close()
  return tookMs
}

/** Jobs by the thousand for some seconds; one command after another beside it. */
async function eventFlood({ url, key, sql, isQuick }: FloodOptions): Promise<number[]> {
  const client = await connectLive(url, key)
  await watch(client, 'states', from('jobs').groupBy('service', 'function', 'state').count().plan)
  const untilMs = performance.now() + (isQuick ? 3_000 : 15_000)
  const write = async (): Promise<void> => {
    while (performance.now() < untilMs) await makeJobs(sql, 1_000, 'flood')
  }
  const writers = Promise.all([write(), write()])
  const tookMs: number[] = []
  while (performance.now() < untilMs) {
    const beganMs = performance.now()
    await client.ask('CreateAttribute', { name: 'again', columns: [{ name: 'n', type: 'int' }] })
    tookMs.push(performance.now() - beganMs)
  }
  await writers
  client.close()
  return tookMs
}

/** What a client costs that reads nothing for a while, at 1,000 changes a second, and how soon it is right again. */
async function stoppedReader({ plane, url, tcpPort, key, sql, isQuick }: FloodOptions): Promise<Figures> {
  const plan = from('jobs').where({ service: 'steady' }).select('id', 'created_at').plan
  const other = await connectLive(url, key)
  await watch(other, 'steady', plan)
  const run = async (ms: number): Promise<void> => {
    const untilMs = performance.now() + ms
    for (let dueMs = performance.now(); dueMs < untilMs; dueMs += 100) {
      await makeJobs(sql, 100, 'steady')
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, dueMs + 100 - performance.now())))
    }
  }
  const forMs = isQuick ? 5_000 : 30_000
  // As much again without it, so that what the jobs themselves cost is known.
  const fromMb = rssMb(plane.pid)
  await run(forMs)
  const withoutMb = rssMb(plane.pid) - fromMb
  const { client, socket } = await openTcp(tcpPort)
  await client.ask('Auth', { key })
  await client.ask('Interest', { name: 'steady' })
  socket.pause()
  const pausedMb = rssMb(plane.pid)
  await run(forMs)
  const withMb = rssMb(plane.pid) - pausedMb
  const want = other.rows('steady').length
  const isRight = client.next(() => (client.results.get('steady')?.rows.size ?? 0) === want)
  const beganMs = performance.now()
  socket.resume()
  await isRight
  const rightMs = performance.now() - beganMs
  client.close()
  other.close()
  return { stopped_reader_mb: figure(withMb - withoutMb), stopped_reader_right_ms: figure(rightMs) }
}
