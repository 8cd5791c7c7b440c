// A process of its own: writes an event, and ends well once somebody has given it its tick. Arguments: database URL, namespace.
import pg from 'pg'

const [, , connectionString, namespace] = process.argv
const client = new pg.Client({ connectionString: connectionString ?? '', statement_timeout: 20_000 })
await client.connect()
await client.query(
  `insert into callplane.events (namespace, subject_id, command) values ($1, gen_random_uuid(), '{"command": {"Time": 1}}')`,
  [namespace],
)
const giveUpAtMs = performance.now() + 20_000
for (let left = 1; left > 0 && performance.now() < giveUpAtMs;) {
  const { rows } = await client.query<{ n: number }>(
    'select count(*)::int as n from callplane.events where namespace = $1 and tick is null',
    [namespace],
  )
  left = rows[0]?.n ?? 1
  if (left === 0) console.log('stamped')
}
await client.end()
