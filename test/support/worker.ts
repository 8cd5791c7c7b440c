// The Worker under test, in workerd, with a fresh namespace for each test.
import { env, exports } from 'cloudflare:workers'
import { neonSql } from '../../src/db/neon.ts'
import type { Grant } from '../../src/protocol/keys.ts'
import { decodeBody, encodeBody } from '../../src/protocol/wire.ts'

/** The database of the Worker. */
export const sql = neonSql(env.DATABASE_URL, { fetchEndpoint: env.NEON_FETCH_ENDPOINT })

let count = 0

export interface WorkerHost {
  namespace: string
  options: { url: string; key: string; fetch: typeof fetch }
}

const fetchWorker = (async (input: RequestInfo | URL, init?: RequestInit) =>
  exports.default.fetch(new Request(input, init))) as typeof fetch // one overload of two

export async function setup(): Promise<WorkerHost> {
  const url = 'https://plane.test'
  const grants: Grant[] = [{ scope: 'call' }, { scope: 'serve' }, { scope: 'watch' }, { scope: 'admin' }]
  const namespace = `worker_${crypto.randomUUID()}_${count++}`
  const response = await fetchWorker(`${url}/v1/keys`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${env.CALLPLANE_ADMIN_KEY}`,
      'content-type': 'application/msgpack',
      accept: 'application/msgpack',
    },
    body: encodeBody({ namespace, grants }),
  })
  const { key } = decodeBody(new Uint8Array(await response.arrayBuffer())) as { key: string }
  return { namespace, options: { url, key, fetch: fetchWorker } }
}
