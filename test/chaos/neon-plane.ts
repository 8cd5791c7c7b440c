// A plane as it runs on Neon: its driver over HTTP, here against our own endpoint, of whose statements a quarter goes wrong.
import { createAdaptorServer } from '@hono/node-server'
import type { AddressInfo } from 'node:net'
import { Pool } from 'pg'
import { inProcessBell } from '../../src/bell/in-process.ts'
import { startNeonEndpoint, type Fault } from '../../src/db/neon-endpoint.node.ts'
import { neonSql } from '../../src/db/neon.ts'
import { createApp } from '../../src/http/app.ts'
import { maintain, maintainAndArm } from '../../src/http/maintenance.ts'

/** Of all statements, for each fault. */
const SHARE = 0.05
const FAULTS: Fault[] = ['before', 'after', 'serialization', 'reset', { slowMs: 200 }]

process.stdin.resume().once('end', () => process.exit())

let injected = 0
const onQuery = (): Fault | undefined => {
  const fault = FAULTS[Math.floor(Math.random() / SHARE)]
  if (fault !== undefined) injected++
  return fault
}
const pool = new Pool({ connectionString: process.env['DATABASE_URL'], max: 10 })
const endpoint = await startNeonEndpoint({ backend: pool, onQuery })
const sql = neonSql(endpoint.connectionString, { fetchEndpoint: endpoint.url })
const bell = inProcessBell({ lookEveryMs: 500, sweep: () => maintain(app.plane) })
const app = createApp({ sql, bell })
// The net below the alarm, as a cron trigger is: a sweep that failed is followed by another.
setInterval(() => void maintainAndArm(app.plane).catch(() => {}), 1_000)
setInterval(() => console.log(`faults ${injected} of ${endpoint.count}`), 200)

const server = createAdaptorServer({ fetch: app.fetch })
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as AddressInfo // it listens on TCP: neither null nor a path
  console.log(`listening at http://127.0.0.1:${port}`)
})
