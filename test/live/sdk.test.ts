// The suite of live queries over a real plane: the SDK, the peer of a Node process, and the embedded database.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll } from 'vitest'
import { startEmbedded, type EmbeddedPlane } from '../../src/node.ts'
import { newKey } from '../../src/protocol/keys.ts'
import { encodeBody } from '../../src/protocol/wire.ts'
import { liveEndToEnd } from '../sdk/live-end-to-end.ts'

const adminKey = newKey().key
const folder = mkdtempSync(join(tmpdir(), 'callplane-test-'))
let plane: EmbeddedPlane
let namespaces = 0

beforeAll(async () => {
  plane = await startEmbedded(folder, { host: '127.0.0.1', port: 0, adminKey })
}, 60_000)
afterAll(async () => {
  await plane.close()
  rmSync(folder, { recursive: true, force: true })
})

liveEndToEnd(async () => {
  const response = await fetch(`${plane.url}/v1/keys`, {
    method: 'POST',
    headers: { authorization: `Bearer ${adminKey}`, 'content-type': 'application/msgpack', accept: 'application/json' },
    body: encodeBody({ namespace: `live_${namespaces++}`, grants: [{ scope: 'watch' }, { scope: 'call' }] }),
  })
  const { key } = (await response.json()) as { key: string } // as the protocol says
  return { url: plane.url, key, WebSocket }
})
