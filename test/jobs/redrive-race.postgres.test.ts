// One call, redriven five times at once on a real Postgres: one new job, and five answers that name it.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { migrate } from '../../src/db/migrate.ts'
import { readSchema } from '../../src/db/migrations.node.ts'
import { pgSql, type PgDatabase } from '../../src/db/pg.ts'
import { cancelJobs } from '../../src/jobs/cancel.ts'
import { enqueueJobs } from '../../src/jobs/enqueue.ts'
import { beginRedrive, findRedrivable, type RedriveCursor } from '../../src/jobs/find-redrivable.ts'
import { redriveJobs, type Redriven } from '../../src/jobs/redrive.ts'
import { newCallId } from '../../src/protocol/call-id.ts'
import { freshDatabase } from '../support/fresh-database.ts'

const REACH = { namespace: 'race', services: null }
const AT_ONCE = 5
let database: PgDatabase

beforeAll(async () => {
  database = pgSql({ connectionString: await freshDatabase(), max: AT_ONCE })
  await migrate(database.sql, readSchema())
}, 60_000)

afterAll(() => database.close())

/** So many calls that were cancelled. */
async function ended(count: number, namespace = REACH.namespace): Promise<string[]> {
  const calls = Array.from({ length: count }, () => ({
    id: newCallId(),
    service: 's',
    function: 'f',
    args: new Uint8Array([1]),
    argsDigest: new Uint8Array(32),
  }))
  for (let start = 0; start < count; start += 1_000) {
    await enqueueJobs(database.sql, namespace, calls.slice(start, start + 1_000), { retentionMs: 7 * 86_400_000 })
  }
  const ids = calls.map(({ id }) => id)
  await cancelJobs(database.sql, { namespace, services: null }, ids, 'no')
  return ids
}

test('a redrive sent five times at once is one job and five equal answers', async () => {
  for (const id of await ended(50)) {
    const answers = await Promise.all(Array.from({ length: AT_ONCE }, () => redriveJobs(database.sql, REACH, [id])))
    const heirs = answers.flat().map((one) => ('redrivenAs' in one ? one : null))
    expect(new Set(heirs.map((one) => one?.redrivenAs)).size).toBe(1)
    expect(heirs.filter((one) => one?.isNew)).toHaveLength(1)
  }
})

test('five people redrive the same 500 calls in different orders: each once, and no deadlock', async () => {
  const ids = await ended(500)
  const shuffled = () => ids.toSorted(() => Math.random() - 0.5)
  const answers = await Promise.all(Array.from({ length: AT_ONCE }, () => redriveJobs(database.sql, REACH, shuffled())))
  const made = answers.flat().filter((one) => 'isNew' in one && one.isNew)
  expect(made.map(({ id }) => id).toSorted()).toEqual(ids.toSorted())
  expect(answers.flat().every((one) => 'redrivenAs' in one)).toBe(true)
  const rows = await database.sql<{ count: number }>(
    `select count(*) as count from callplane.jobs where namespace = 'race' and redriven_from = any($1::uuid[])`,
    [ids],
  )
  expect(rows).toEqual([{ count: 500 }])
})

// Half a second. Before its statements were kept from joining what they look up, half a minute: the table is new, and the
// planner knows nothing of it.
test('"redrive all failed" pressed by five at once makes one new job of each', { timeout: 15_000 }, async () => {
  const reach = { namespace: 'pressed', services: null }
  await ended(1_200, 'pressed')
  const run = async () => {
    const answers: Redriven[] = []
    for (let cursor: RedriveCursor | null = await beginRedrive(database.sql); cursor !== null;) {
      const { ids, next } = await findRedrivable(database.sql, reach, { state: ['cancelled'] }, { cursor, limit: 500 })
      answers.push(...(await redriveJobs(database.sql, reach, ids)))
      cursor = next
    }
    return answers
  }
  const answers = (await Promise.all(Array.from({ length: AT_ONCE }, run))).flat()
  expect(answers.filter((one) => 'error' in one)).toEqual([])
  expect(answers.filter((one) => 'isNew' in one && one.isNew)).toHaveLength(1_200)
  const rows = await database.sql<{ jobs: number; old: number }>(
    `select count(*) as jobs, count(distinct redriven_from) as old from callplane.jobs
    where namespace = 'pressed' and state = 'pending'`,
  )
  expect(rows).toEqual([{ jobs: 1_200, old: 1_200 }])
})
