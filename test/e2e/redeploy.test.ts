// A deploy while calls come: every socket is cut and the objects begin anew. Who watches goes on from where they were.
import { globSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { Callplane, from, type LiveChange } from 'callplane'
import { Pool } from 'pg'
import { expect, onTestFinished, test } from 'vitest'
import { startNeonEndpoint } from '../../src/db/neon-endpoint.node.ts'
import { newKey } from '../../src/protocol/keys.ts'
import { callplane, freePort, ROOT, run, temporaryFolder, type Running } from '../support/cli.ts'
import { freshDatabase } from '../support/fresh-database.ts'

/** A hydration, and the commands of the log from its beginning. */
const WHOLE = /-1::int8 as part|and \(e\.command \? 'number'/

type Change = LiveChange<{ id: string | null }>

interface Watched {
  changes: Change[]
  resets: string[]
}

test('no change is told twice, none is missed, and nothing is told anew', { timeout: 180_000 }, async () => {
  const databaseUrl = await freshDatabase()
  expect((await callplane(['migrate'], { DATABASE_URL: databaseUrl }).exit).code).toBe(0)
  const pool = new Pool({ connectionString: databaseUrl, max: 4 })
  const wholeReads: string[] = []
  const endpoint = await startNeonEndpoint({
    backend: pool,
    onQuery: ({ text }) => {
      if (WHOLE.test(text)) wholeReads.push(text)
    },
  })
  onTestFinished(async () => {
    await endpoint.close()
    await pool.end()
  })
  const key = newKey().key
  const folder = temporaryFolder()
  const secrets = {
    DATABASE_URL: endpoint.connectionString,
    NEON_FETCH_ENDPOINT: endpoint.url,
    CALLPLANE_ADMIN_KEY: key,
    CALLPLANE_PEERS: '1',
  }
  const lines = Object.entries(secrets).map(([name, value]) => `${name}=${JSON.stringify(value)}\n`)
  writeFileSync(join(folder, 'env'), lines.join(''))
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const first = await deploy(url, { folder, port })

  const plane = new Callplane({ url, key })
  onTestFinished(() => plane.close())
  const nobody = plane.service('nobody', { functions: { work: (n: number) => n } })
  const client = plane.client<typeof nobody>('nobody')
  const query = await plane.live.register('open', from('jobs').where({ state: 'pending' }).select('id'))
  const watched: Watched = { changes: [], resets: [] }
  plane.live.watch(query, {
    onChange: (change: Change) => void watched.changes.push(change),
    onReset: (reason) => void watched.resets.push(reason),
    onError: (error: unknown) => void watched.resets.push(String(error)),
  })
  const ids: string[] = []
  const call = async (count: number): Promise<void> => {
    for (let n = 0; n < count; n++) ids.push((await client.work.start(n)).id)
  }
  const told = () => watched.changes.at(-1)?.rows.length
  await call(20)
  await expect.poll(told, { timeout: 20_000 }).toBe(20)
  await expect.poll(() => checkpointTick(folder), { timeout: 20_000 }).toBe(watched.changes.at(-1)?.tick)

  const before = wholeReads.length
  // Before, during and after the restart.
  const calling = Promise.all([call(60), call(60)])
  await expect.poll(told, { timeout: 20_000 }).toBeGreaterThan(30)
  await first.stop('SIGTERM')
  const second = await deploy(url, { folder, port })
  await calling
  await expect.poll(told, { timeout: 30_000 }).toBe(140)
  await second.stop('SIGTERM')

  const diffs = watched.changes.flatMap((change) => change.diffs)
  expect(diffs.map(([{ id }, diff]) => `${id} ${diff}`).toSorted()).toEqual(ids.map((id) => `${id} 1`).toSorted())
  const rows = watched.changes.at(-1)?.rows.map(({ id }) => id)
  const inTable = await pool.query<{ id: string }>(`select id::text from callplane.jobs where state = 'pending'`)
  expect(rows?.toSorted()).toEqual(inTable.rows.map(({ id }) => id).toSorted())
  expect(watched.resets).toEqual([])
  expect(wholeReads.slice(before)).toEqual([])
})

async function deploy(url: string, { folder, port }: { folder: string; port: string }): Promise<Running> {
  const wrangler = join(ROOT, 'node_modules/wrangler/bin/wrangler.js')
  const files = ['--config', join(ROOT, 'wrangler.toml'), '--env-file', join(folder, 'env'), '--persist-to', folder]
  const quiet = ['--ip', '127.0.0.1', '--port', port, '--show-interactive-dev-session=false']
  const worker = run(wrangler, ['dev', ...files, ...quiet], { WRANGLER_SEND_METRICS: 'false' })
  const status = async () => (await fetch(`${url}/ready`).catch(() => null))?.status
  await expect.poll(status, { timeout: 60_000, interval: 200 }).toBe(200)
  return worker
}

/** Of the one checkpoint on the disk of the peer. */
function checkpointTick(folder: string): number | null {
  for (const file of globSync(join(folder, 'v3/do/*PeerObject/*.sqlite'))) {
    const database = new DatabaseSync(file, { readOnly: true })
    try {
      const row = database.prepare('select version from checkpoints').get()
      if (row !== undefined) return (JSON.parse(String(row['version'])) as [number])[0]
    } catch {
      // It has no such table yet.
    } finally {
      database.close()
    }
  }
  return null
}
