// Ours in workerd: the Worker through wrangler, its Neon driver on our own endpoint before a real Postgres.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Callplane } from 'callplane'
import { createDatabase, startPostgres } from '../support/postgres.ts'
import { COUNTING, countStatements } from './counts.ts'
import { figure, type Figures, type MeasureOptions } from './figures.ts'
import { threeStatements } from './floors.ts'
import { oneByOne } from './measure.ts'
import { pickup } from './node-host.ts'
import { start, startCli } from './processes.ts'
import type { Adder } from './runner.ts'

const RUNNER = fileURLToPath(new URL('./runner.ts', import.meta.url))
const PORT = '18788'

export async function measureWorkerd({ isQuick, say }: MeasureOptions): Promise<Figures> {
  const postgres = await startPostgres({ ...COUNTING, autovacuum: 'off' })
  const databaseUrl = await createDatabase(postgres.url)
  const floor = await threeStatements(await createDatabase(postgres.url))
  const counts = await countStatements(postgres.url, databaseUrl)
  const dir = mkdtempSync(join(tmpdir(), 'callplane-bench-'))
  const env = { DATABASE_URL: databaseUrl, CALLPLANE_DIR: dir, PORT }
  const plane = await startCli(['dev', '--workerd'], env, /Ctrl-C stops/)
  const url = `http://127.0.0.1:${PORT}`
  const key = readFileSync(join(dir, 'key'), 'utf8').trim()
  const runner = await start(RUNNER, { env: { CALLPLANE_URL: url, CALLPLANE_KEY: key }, ready: /ready/ })
  let requests = 0
  const counted: typeof fetch = (input, init) => {
    requests++
    return fetch(input, init)
  }
  const callplane = new Callplane({ url, key, fetch: counted })
  const { add } = callplane.client<Adder>('adder')
  const figures: Figures = {}
  try {
    say('one call after another')
    for (let n = 0; n < 50; n++) await Promise.all([add(n), floor.call()])
    const count = isQuick ? 200 : 1_000
    const bare = await oneByOne(() => floor.call(), { count })
    const ours = await oneByOne(() => add(1), { count })
    figures['sequential_p50_ms'] = figure(ours.p50Ms, bare.p50Ms)

    say('what calls cost')
    const before = { statements: await counts.statements(), requests }
    for (let n = 0; n < count; n++) await add(n)
    figures['round_trips_per_call'] = figure(((await counts.statements()) - before.statements) / count)
    // The caller's, and the runner's: a report and the next claim are one.
    figures['requests_per_call'] = figure((requests - before.requests) / count + 1)

    say('new job → waiting runner')
    figures['pickup_p50_ms'] = figure(await pickup({ url, key, count: isQuick ? 100 : 500 }))

    say('nothing to do: waiting for the last arm to run out')
    await new Promise((resolve) => setTimeout(resolve, isQuick ? 120_000 : 160_000))
    const idleFrom = await counts.statements()
    await new Promise((resolve) => setTimeout(resolve, isQuick ? 65_000 : 125_000))
    figures['idle_statements'] = figure((await counts.statements()) - idleFrom)
    return figures
  } finally {
    await callplane.close()
    await runner.stop()
    await plane.stop()
    await counts.close()
    await floor.close()
    await postgres.stop()
    rmSync(dir, { recursive: true, force: true })
  }
}
