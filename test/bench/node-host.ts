// Ours on Node: one `callplane serve` on a real Postgres that waits for the disk, one runner process, callers in this one.
import { fileURLToPath } from 'node:url'
import { Callplane, type Client } from 'callplane'
import { migrateDatabase } from '../../src/node.ts'
import { newKey } from '../../src/protocol/keys.ts'
import { createDatabase, startPostgres } from '../support/postgres.ts'
import { COUNTING, countRequests, countStatements } from './counts.ts'
import { figure, type Figures, type MeasureOptions } from './figures.ts'
import { threeStatements, type Floor } from './floors.ts'
import { burst, closedLoop, median, oneByOne, percentile } from './measure.ts'
import { cpuMs, rssMb, start, startCli } from './processes.ts'
import type { Adder } from './runner.ts'
import { holdPolls } from './waiting.ts'

const RUNNER = fileURLToPath(new URL('./runner.ts', import.meta.url))
const MOVED_CLOCK = new URL('./moved-clock.ts', import.meta.url).href
const PORT = '18787'

export async function measureNode({ isQuick, say }: MeasureOptions): Promise<Figures> {
  // What runs beside a measurement in the background would be measured as ours.
  const postgres = await startPostgres({ ...COUNTING, shared_buffers: '512MB', max_wal_size: '4GB', autovacuum: 'off' })
  const databaseUrl = await createDatabase(postgres.url)
  await migrateDatabase(databaseUrl)
  const floor = await threeStatements(await createDatabase(postgres.url))
  const counts = await countStatements(postgres.url, databaseUrl)
  const key = newKey().key
  const serve = ['serve', '--port', PORT, '--host', '127.0.0.1']
  const env = { DATABASE_URL: databaseUrl, CALLPLANE_ADMIN_KEY: key }
  const plane = await startCli(serve, env, /"listening"/, ['--import', MOVED_CLOCK])
  const url = `http://127.0.0.1:${PORT}`
  const startRunner = () => start(RUNNER, { env: { CALLPLANE_URL: url, CALLPLANE_KEY: key }, ready: /ready/ })
  let runner = await startRunner()
  const callplane = new Callplane({ url, key })
  const { add } = callplane.client<Adder>('adder')
  const figures: Figures = {}
  try {
    for (let n = 0; n < 100; n++) await Promise.all([add(n), floor.call()])

    say('one call after another')
    const rounds = isQuick ? 3 : 9
    const ours: { p50Ms: number; p99Ms: number }[] = []
    const floors: typeof ours = []
    for (let round = 0; round < rounds; round++) {
      floors.push(await oneByOne(() => floor.call(), { count: 200 }))
      ours.push(await oneByOne(() => add(1), { count: 200 }))
    }
    const of = (all: typeof ours, which: 'p50Ms' | 'p99Ms') => median(all.map((one) => one[which]))
    figures['sequential_p50_ms'] = figure(of(ours, 'p50Ms'), of(floors, 'p50Ms'))
    figures['sequential_p99_ms'] = figure(of(ours, 'p99Ms'), of(floors, 'p99Ms'))

    say('what 1,000 calls cost')
    const before = { statements: await counts.statements(), requests: await countRequests(url, key) }
    for (let n = 0; n < 1_000; n++) await add(n)
    figures['round_trips_per_call'] = figure(((await counts.statements()) - before.statements) / 1_000)
    figures['requests_per_call'] = figure(((await countRequests(url, key)) - before.requests) / 1_000)

    const forMs = isQuick ? 2_000 : 5_000
    for (const inFlight of [50, 200]) {
      say(`${inFlight} callers at once`)
      const bare = await closedLoop(() => floor.call(), { inFlight, forMs })
      let fromCpuMs = 0
      let toCpuMs = 0
      const result = await closedLoop(() => add(1), {
        inFlight,
        forMs,
        begin: () => (fromCpuMs = cpuMs([process.pid])),
        end: () => (toCpuMs = cpuMs([process.pid])),
      })
      figures[`calls_per_s_${inFlight}`] = figure(result.perSecond, bare.perSecond)
      if (inFlight === 50) figures['cpu_ms_per_1000_calls'] = figure(((toCpuMs - fromCpuMs) / result.count) * 1_000)
    }

    say('new job → waiting runner')
    figures['pickup_p50_ms'] = figure(await pickup({ url, key, count: isQuick ? 200 : 1_000 }))

    await runner.stop()
    await queue(figures, { add, floor, isQuick, say })
    say('draining what was queued')
    const queued = isQuick ? 4_000 : 20_000
    const batches = Array.from({ length: queued / 1_000 }, () => Array.from({ length: 1_000 }, (_, n): [number] => [n]))
    const calls = (await Promise.all(batches.map((batch) => add.batch(batch)))).flat()
    // From the first result on: how long a process takes to start is no part of it.
    const results = calls.map((call) => ('result' in call ? call.result() : null))
    runner = await startRunner()
    await Promise.race(results)
    const drainFromMs = performance.now()
    await Promise.all(results)
    const drainedPerSecond = (queued / (performance.now() - drainFromMs)) * 1_000
    const bareQueued = Math.min(queued, 4_000)
    await floor.insertMany(bareQueued)
    const bareDrain = await burst(() => floor.drainOne(), { inFlight: 10, total: bareQueued })
    figures['drain_per_s'] = figure(drainedPerSecond, bareDrain)
    await runner.stop()

    say('10,000 polls that wait')
    const polls = await holdPolls({ url, key, count: 10_000 })
    figures['waiting_10000_rss_mb'] = figure(rssMb(plane.pid))
    await polls.release()

    say('nothing to do: from the third minute on')
    runner = await startRunner()
    await add(1)
    // Every poll ends once within half a minute, and every timer ticks.
    const minute = async () => {
      if (isQuick) process.kill(plane.pid, 'SIGUSR2')
      await new Promise((resolve) => setTimeout(resolve, isQuick ? 30_000 : 60_000))
    }
    await minute()
    await minute()
    const idleFrom = await counts.statements()
    await minute()
    if (!isQuick) await minute()
    figures['idle_statements'] = figure((await counts.statements()) - idleFrom)
    return figures
  } finally {
    await callplane.close()
    await runner.stop().catch(() => {})
    await plane.stop()
    await counts.close()
    await floor.close()
    await postgres.stop()
  }
}

type Add = Client<Adder>['add']

/** Calls that nobody takes: how many a second, one by one and by the batch. */
async function queue(
  figures: Figures,
  { add, floor, isQuick, say }: { add: Add; floor: Floor } & MeasureOptions,
): Promise<void> {
  say('calls that nobody takes')
  const total = isQuick ? 2_000 : 10_000
  const one = await burst((n) => add.with({ deadlineMs: 60_000 }).start(n), { inFlight: 50, total })
  figures['enqueue_per_s'] = figure(one, await burst(() => floor.insert(), { inFlight: 50, total }))
  const batch = Array.from({ length: 1_000 }, (_, n): [number] => [n])
  const batches = isQuick ? 10 : 50
  const many = await burst(() => add.with({ deadlineMs: 60_000 }).batch(batch), { inFlight: 4, total: batches })
  const bare = await burst(() => floor.insertMany(1_000), { inFlight: 4, total: batches })
  figures['enqueue_batched_per_s'] = figure(many * 1_000, bare * 1_000)
}

/** From the call to the first line of its function, in a runner that waits in this very process: one clock. */
export async function pickup({ url, key, count }: { url: string; key: string; count: number }): Promise<number> {
  const caller = new Callplane({ url, key })
  const host = new Callplane({ url, key })
  let begun = Promise.withResolvers<number>()
  const probe = host.service('probe', { functions: { begin: () => begun.resolve(performance.now()) } })
  await probe.start()
  const { begin } = caller.client<typeof probe>('probe')
  const times: number[] = []
  for (let n = 0; n < count; n++) {
    begun = Promise.withResolvers()
    const fromMs = performance.now()
    const call = begin()
    times.push((await begun.promise) - fromMs)
    await call
  }
  await caller.close()
  await host.close()
  return percentile(times, 0.5)
}
