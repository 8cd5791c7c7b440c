// Callplane as one of the systems of a harness that measures durable queues side by side: one `callplane serve` on its
// Postgres, a runner of a hundred slots and a caller with the SDK. CONTRIBUTING.md says how such a run is begun.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import pg from 'pg'

const ROOT = process.env.CALLPLANE_ROOT ?? join(import.meta.dirname, '..', '..')
if (!existsSync(join(ROOT, 'src', 'node.ts'))) {
  throw new Error(`${ROOT} is not the folder of Callplane: link this file rather than copy it, or set CALLPLANE_ROOT`)
}
const load = (path) => import(pathToFileURL(join(ROOT, path)).href)
const { Callplane } = await load('src/sdk/index.ts')
const { newKey } = await load('src/protocol/keys.ts')
const { encodePayload } = await load('src/protocol/codec.ts')
const { argsDigest } = await load('src/protocol/digest.ts')

const NAMESPACE = 'default'
const FALLBACK_PORT = 15470

const { PB_PG_USER: user = 'postgres', PB_PG_HOST: host = '127.0.0.1', PB_PG_PORT: pgPort = '15432' } = process.env
const databaseUrl = (ctx) => `postgres://${user}@${host}:${pgPort}/${ctx.db}`
const portOf = (ctx) => ctx.ports?.[0] ?? FALLBACK_PORT

/** The processes of a run share nothing but its folder. */
function keyOf(ctx) {
  const file = join(ctx.tmp, 'callplane-key')
  if (!existsSync(file)) {
    mkdirSync(ctx.tmp, { recursive: true })
    writeFileSync(file, newKey().key, { mode: 0o600 })
  }
  return readFileSync(file, 'utf8')
}

const planeOf = (ctx) => new Callplane({ url: `http://127.0.0.1:${portOf(ctx)}`, key: keyOf(ctx) })

async function query(ctx, text, values) {
  const client = new pg.Client({ connectionString: databaseUrl(ctx) })
  await client.connect()
  try {
    return (await client.query(text, values)).rows
  } finally {
    await client.end()
  }
}

export const peer = {
  name: 'callplane',
  store: 'pg',
  variants: { default: { note: 'callplane serve as it comes: keys, leases, tokens, attempts' } },

  async setup(ctx) {
    const { migrateDatabase } = await load('src/node.ts')
    await migrateDatabase(databaseUrl(ctx))
  },

  servers: (ctx) => [
    {
      name: 'callplane',
      cmd: process.execPath,
      args: [join(ROOT, 'src/cli/main.ts'), 'serve', '--host', '127.0.0.1', '--port', String(portOf(ctx))],
      env: { DATABASE_URL: databaseUrl(ctx), CALLPLANE_ADMIN_KEY: keyOf(ctx) },
      port: portOf(ctx),
    },
  ],

  async worker(ctx) {
    const plane = planeOf(ctx)
    const adder = plane.service('adder', { functions: { add: (n) => ctx.exec(n) }, slots: ctx.concurrency })
    return { start: () => adder.start(), stop: () => plane.close() }
  },

  async caller(ctx) {
    const plane = planeOf(ctx)
    const { add } = plane.client('adder')
    const pool = new pg.Pool({ connectionString: databaseUrl(ctx), max: 1 })
    return {
      call: (n) => add(n),
      enqueue: (n) => add.start(n),
      async enqueueBulk(ns) {
        for (const one of await add.batch(ns.map((n) => [n]))) if (one instanceof Error) throw one
      },
      async remaining() {
        const { rows } = await pool.query(
          `select count(*)::int as open from callplane.jobs
          where namespace = $1 and service = 'adder' and state in ('pending', 'running')`,
          [NAMESPACE],
        )
        return rows[0].open
      },
    }
  },

  async seed(ctx, { finished = 0, pending = 0 }) {
    const args = Buffer.from(encodePayload([1], 'args'))
    const digest = Buffer.from(await argsDigest(args))
    const result = Buffer.from(encodePayload(2, 'result'))
    // Ids of the past, as clients make them: what is inserted next comes behind all of them.
    const id = `(lpad(to_hex((extract(epoch from now()) * 1000)::int8 - 86400000 + g * 50), 12, '0')
      || '7' || substr(md5(g::text), 1, 3) || '8' || substr(md5(g::text), 4, 15))::uuid`
    const columns = 'namespace, id, origin_id, service, function, args, args_digest, max_attempts, lease_ms'
    await query(
      ctx,
      `insert into callplane.jobs (${columns}, state, attempt, fence, runner_id, started_at, finished_at, result,
        created_at, run_at)
      select $1, id, id, 'adder', 'add', $2, $3, 3, 30000, 'succeeded', 1, 1, gen_random_uuid(), at, at, $4, at, at
      from (select ${id} as id, now() - interval '1 day' + g * interval '50 ms' as at
        from generate_series(1, $5::int8) g) made`,
      [NAMESPACE, args, digest, result, finished],
    )
    await query(
      ctx,
      `insert into callplane.attempts (namespace, job_id, fence, attempt, token, runner_id, started_at, ended_at, outcome)
      select namespace, id, 1, 1, gen_random_uuid(), runner_id, started_at, finished_at, 'succeeded'
      from callplane.jobs where namespace = $1 and state = 'succeeded'`,
      [NAMESPACE],
    )
    await query(
      ctx,
      `insert into callplane.jobs (${columns})
      select $1, id, id, 'other', 'add', $2, $3, 3, 30000 from (select ${id} as id
        from generate_series(10000000, 10000000 + $4::int8 - 1) g) made where $4::int8 > 0`,
      [NAMESPACE, args, digest, pending],
    )
  },
}
