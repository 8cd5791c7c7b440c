// Redrives on a real Postgres: sent five times at once they make one new job, and a new table does not make them slow.
import { expect, onTestFinished, test } from 'vitest'
import { migrate } from '../../src/db/migrate.ts'
import { readSchema } from '../../src/db/migrations.node.ts'
import { pgSql } from '../../src/db/pg.ts'
import { cancelJobs } from '../../src/jobs/cancel.ts'
import { enqueueJobs } from '../../src/jobs/enqueue.ts'
import { beginRedrive, findRedrivable, type RedriveCursor } from '../../src/jobs/find-redrivable.ts'
import { redriveJobs, type Redriven } from '../../src/jobs/redrive.ts'
import { newCallId } from '../../src/protocol/call-id.ts'
import { freshDatabase, migratedDatabase } from '../support/fresh-database.ts'

const REACH = { namespace: 'race', services: null }
const AT_ONCE = 5
const { database } = await migratedDatabase({ max: AT_ONCE })

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

test('"redrive all failed" pressed by five at once makes one new job of each', async () => {
  const reach = { namespace: 'pressed', services: null }
  await ended(1_200, reach.namespace)
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

test('a planner that knows nothing of the table does not compare each call with all others', async () => {
  const fresh = pgSql({ connectionString: await freshDatabase(), max: 1 })
  onTestFinished(() => fresh.close())
  await migrate(fresh.sql, readSchema())
  await fresh.sql('alter table callplane.jobs set (autovacuum_enabled = false)')
  await fresh.sql(
    `insert into callplane.jobs (namespace, id, service, function, state, args, args_digest, origin_id, max_attempts,
      lease_ms, finished_at)
    select $1, id, 's', 'f', 'cancelled', repeat('x', 60)::bytea, decode(repeat('00', 32), 'hex'), id, 3, 30000, now()
    from (select gen_random_uuid() as id from generate_series(1, 1200)) made`,
    [REACH.namespace],
  )
  const cursor = await beginRedrive(fresh.sql)
  const startedAtMs = performance.now()
  const { ids } = await findRedrivable(fresh.sql, REACH, { state: ['cancelled'] }, { cursor, limit: 500 })
  const foundAtMs = performance.now()
  expect(await redriveJobs(fresh.sql, REACH, ids)).toHaveLength(500)
  // 20 ms each. As joins, each pair derives the new id anew: 5 s and 2 s.
  expect(foundAtMs - startedAtMs).toBeLessThan(1_000)
  expect(performance.now() - foundAtMs).toBeLessThan(1_000)
})
