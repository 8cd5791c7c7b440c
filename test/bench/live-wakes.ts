// How long a peer on Cloudflare takes that is asleep: from a call to its diff at a client whose socket stayed open.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Callplane } from 'callplane'
import { Pool } from 'pg'
import { startNeonEndpoint } from '../../src/db/neon-endpoint.node.ts'
import { migrateDatabase } from '../../src/node.ts'
import { from } from '../../src/protocol/from.ts'
import { newKey } from '../../src/protocol/keys.ts'
import { encodeBody } from '../../src/protocol/wire.ts'
import type { WireClient } from '../live/client.ts'
import { createDatabase, startPostgres } from '../support/postgres.ts'
import { figure, type Figures, type MeasureOptions } from './figures.ts'
import { connectLive, watch } from './live-client.ts'
import { percentile } from './measure.ts'
import { start } from './processes.ts'
import type { Adder } from './runner.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const WORKER = fileURLToPath(new URL('./wake-worker.ts', import.meta.url))
const WRANGLER = join(ROOT, 'node_modules/wrangler/bin/wrangler.js')
const PORT = '18791'
const URL_OF_WORKER = `http://127.0.0.1:${PORT}`
/** Each in a namespace of its own, so that a call wakes one of them. */
const PEERS = 10
const QUERIES = {
  states: from('jobs').groupBy('service', 'function', 'state').count(),
  made: from('jobs').where({ state: 'pending' }).select('id'),
  first: from('jobs').select('id', 'created_at').orderBy('created_at', 'desc').limit(10),
}

interface Watcher {
  peer: number
  namespace: string
  client: WireClient
  plane: Callplane
}

/** One life of each peer with its checkpoint, one without, and so on. */
export async function measureWakes({ isQuick, say }: MeasureOptions): Promise<Figures> {
  const postgres = await startPostgres()
  const databaseUrl = await createDatabase(postgres.url)
  await migrateDatabase(databaseUrl)
  const pool = new Pool({ connectionString: databaseUrl, max: 8 })
  const endpoint = await startNeonEndpoint({ backend: pool })
  const folder = mkdtempSync(join(tmpdir(), 'callplane-bench-'))
  const admin = newKey().key
  const worker = await startWorker(folder, {
    DATABASE_URL: endpoint.connectionString,
    NEON_FETCH_ENDPOINT: endpoint.url,
    CALLPLANE_ADMIN_KEY: admin,
  })
  const watchers: Watcher[] = []
  try {
    for (let peer = 0; peer < PEERS; peer++) watchers.push(await newWatcher(peer, admin))
    const tookMs = { kept: new Array<number>(), forgotten: new Array<number>() }
    for (let round = 0; round < (isQuick ? 2 : 12); round++) {
      const of = round % 2 === 0 ? 'kept' : 'forgotten'
      say(`asleep → diff, checkpoints ${of}`)
      await Promise.all(watchers.map((watcher) => sleep(watcher, of)))
      for (const watcher of watchers) tookMs[of].push(await callToDiffMs(watcher))
    }
    const of = (part: number): [number, number] => [percentile(tookMs.kept, part), percentile(tookMs.forgotten, part)]
    return {
      workerd_wake_diff_p50_ms: figure(...of(0.5)),
      workerd_wake_diff_p99_ms: figure(...of(0.99)),
    }
  } finally {
    for (const { client, plane } of watchers) {
      client.close()
      await plane.close()
    }
    await worker.stop()
    await endpoint.close()
    await pool.end()
    await postgres.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}

function startWorker(folder: string, variables: Record<string, string>): ReturnType<typeof start> {
  const config = readFileSync(join(ROOT, 'wrangler.toml'), 'utf8')
    .replace('src/worker.ts', WORKER)
    .replace('["nodejs_compat",', '["unsafe_module", "nodejs_compat",')
  writeFileSync(join(folder, 'wrangler.toml'), config)
  const lines = Object.entries(variables).map(([name, value]) => `${name}=${JSON.stringify(value)}\n`)
  writeFileSync(join(folder, 'env'), lines.join(''), { mode: 0o600 })
  const files = ['--config', join(folder, 'wrangler.toml'), '--env-file', join(folder, 'env'), '--persist-to', folder]
  return start(WRANGLER, {
    args: ['dev', ...files, '--ip', '127.0.0.1', '--port', PORT, '--show-interactive-dev-session=false'],
    env: { WRANGLER_SEND_METRICS: 'false' },
    ready: /Ready on/,
  })
}

/** A client that watches a namespace with some hundred jobs. */
async function newWatcher(peer: number, admin: string): Promise<Watcher> {
  const namespace = `space_${peer}`
  const response = await fetch(`${URL_OF_WORKER}/v1/keys`, {
    method: 'POST',
    headers: { authorization: `Bearer ${admin}`, 'content-type': 'application/msgpack', accept: 'application/json' },
    body: encodeBody({ namespace, grants: [{ scope: 'call' }, { scope: 'watch' }] }),
  })
  if (!response.ok) throw new Error(await response.text())
  const { key } = (await response.json()) as { key: string } // as the protocol says
  const plane = new Callplane({ url: URL_OF_WORKER, key })
  await plane.client<Adder>('adder').add.batch(Array.from({ length: 300 }, (_, n) => [n] as const))
  const client = await connectLive(`ws://127.0.0.1:${PORT}/live/${peer}`, key)
  for (const [name, { plan }] of Object.entries(QUERIES)) await watch(client, name, plan)
  return { peer, namespace, client, plane }
}

async function sleep({ peer, namespace }: Watcher, checkpoint: 'kept' | 'forgotten'): Promise<void> {
  const query = `space=${namespace}${checkpoint === 'kept' ? '' : '&forget'}`
  const response = await fetch(`${URL_OF_WORKER}/sleep/${peer}?${query}`)
  if (!response.ok) throw new Error(await response.text())
}

/** From the request on: the diff may come before its answer. */
async function callToDiffMs({ client, plane }: Watcher): Promise<number> {
  const told = client.next((result) => 'QueryDiff' in result && result.QueryDiff[0] === 'made')
  const beganMs = performance.now()
  const call = plane.client<Adder>('adder').add.start(1)
  await told
  const tookMs = performance.now() - beganMs
  await call
  return tookMs
}
