// The faults that a plane must come back from: its database, its connections, its runners, itself.
import { Client } from 'pg'
import type { Scenario } from '../scenario.ts'
import { pause } from '../stage.ts'
import { recoveryFrom, type Ground } from './recovery.ts'

/** What stands in the way for so long, where it is not over at once. */
const FAULT_MS = 10_000

async function restartPostgres({ stage }: Ground): Promise<void> {
  stage.fault('Postgres shut down')
  await stage.postgres.shutDown()
  await pause(1_000)
  await stage.postgres.start()
  stage.fault('Postgres started')
}

/** Ten a second, of those that the planes have. */
async function killBackends({ stage }: Ground): Promise<void> {
  const client = await superuser(stage.postgres.url)
  const database = new URL(stage.databaseUrl).pathname.slice(1)
  for (let killed = 0; killed < stage.size(FAULT_MS, 2_000) / 100; killed++) {
    await client.query(
      `select pg_terminate_backend(pid) from pg_stat_activity
      where datname = $1 and pid <> pg_backend_pid() order by random() limit 1`,
      [database],
    )
    stage.fault('a backend killed')
    await pause(100)
  }
  await client.end()
}

/** Others take every connection that the server has, also those that the planes had. */
async function exhaustPool({ stage }: Ground): Promise<void> {
  const hoard: Client[] = []
  const take = async (): Promise<boolean> => {
    try {
      hoard.push(await superuser(stage.postgres.url))
      return true
    } catch {
      return false
    }
  }
  const untilMs = performance.now() + stage.size(FAULT_MS, 2_000)
  const first = await superuser(stage.postgres.url)
  while (await take());
  stage.fault(`${hoard.length} connections taken`)
  const database = new URL(stage.databaseUrl).pathname.slice(1)
  await first.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [database])
  while (performance.now() < untilMs) {
    while (await take());
    await pause(20)
  }
  await Promise.all([first, ...hoard].map((client) => client.end()))
  stage.fault('connections given back')
}

async function killRunner({ stage, runners, newRunner }: Ground, index = 0): Promise<void> {
  await runners[index]?.end('SIGKILL')
  stage.fault(`runner ${index} killed`)
  runners[index] = newRunner(index)
}

/** By turns a runner and a plane, one a second. */
async function killRepeatedly(ground: Ground): Promise<void> {
  const { stage, planes, runners, newPlane } = ground
  for (let kills = 0; kills < stage.size(16, 4); kills++) {
    if (kills % 2 === 0) await killRunner(ground, (kills / 2) % runners.length)
    else {
      const index = ((kills - 1) / 2) % planes.length
      await planes[index]?.process.end('SIGKILL')
      stage.fault(`plane ${index} killed`)
      await newPlane(index)
    }
    await pause(1_000)
  }
}

async function superuser(url: string): Promise<Client> {
  const client = new Client({ connectionString: url })
  client.on('error', () => {})
  await client.connect()
  return client
}

export const FAULTS: readonly Scenario[] = [
  recoveryFrom('postgres-restart', 'Postgres shuts down and starts again', restartPostgres),
  recoveryFrom('backends-killed', 'ten connections a second killed by the server', killBackends),
  recoveryFrom('pool-exhausted', 'every connection of the server taken by others', exhaustPool),
  recoveryFrom('one-kill', 'one of the runners killed and replaced', (ground) => killRunner(ground)),
  recoveryFrom('repeated-kills', 'runners and planes killed and replaced, one a second', killRepeatedly),
]
