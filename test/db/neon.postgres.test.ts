// The unmodified Neon driver in front of our endpoint: faults on the way, and who may ask at all.
import { neon, neonConfig, type NeonQueryFunction } from '@neondatabase/serverless'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { Pool } from 'pg'
import { neonSql } from '../../src/db/neon.ts'
import { startNeonEndpoint, type Endpoint, type EndpointOptions, type Fault } from '../../src/db/neon-endpoint.node.ts'
import { openEmbedded, type EmbeddedDatabase } from '../../src/db/pglite.node.ts'
import { pgSql } from '../../src/db/pg.ts'
import { isOutcomeUnknown, SqlError, withRetry, type Sql } from '../../src/db/sql.ts'
import { freshDatabase } from '../support/fresh-database.ts'
import { breakable } from '../support/tcp.ts'
import { untilAsleep } from './asleep.ts'

let embedded: EmbeddedDatabase
beforeAll(async () => {
  embedded = await openEmbedded(null)
  await embedded.sql('create table rows (n int8)')
})
afterAll(() => embedded.close())

async function setup(options: Partial<EndpointOptions> = {}): Promise<{ sql: Sql; endpoint: Endpoint }> {
  const endpoint = await startNeonEndpoint({ backend: embedded.engine, ...options })
  onTestFinished(() => endpoint.close())
  return { sql: neonSql(endpoint.connectionString, { fetchEndpoint: endpoint.url }), endpoint }
}

/** Inserts one row while the endpoint does `fault` to it; tells how that failed and whether the row is there. */
async function insertDuring(fault: Fault): Promise<{ error: unknown; inserted: number }> {
  const { sql } = await setup({ onQuery: () => fault })
  await embedded.sql('delete from rows')
  const error = await sql('insert into rows values ($1)', [1]).catch((error: unknown) => error)
  const [row] = await embedded.sql<{ n: number }>('select count(*) as n from rows')
  return { error, inserted: row?.n ?? -1 }
}

describe('a statement', () => {
  test.each<[Fault, number]>([
    ['before', 0],
    ['reset', 0],
    ['after', 1],
  ])('that fails %s: the outcome is unknown to us, and %i rows are there', async (fault, rows) => {
    const { error, inserted } = await insertDuring(fault)
    expect(error).toBeInstanceOf(SqlError)
    expect([(error as SqlError).code, isOutcomeUnknown(error)]).toStrictEqual([null, true]) // toBeInstanceOf above.
    expect(inserted).toBe(rows)
  })

  test('that lost a race is not there', async () => {
    expect(await insertDuring('serialization')).toMatchObject({ error: { code: '40001' }, inserted: 0 })
  })

  test('that is slow arrives', async () => {
    expect(await insertDuring({ slowMs: 50 })).toMatchObject({ error: [], inserted: 1 })
  })

  test('that lost two races succeeds with withRetry', async () => {
    let asked = 0
    const { sql, endpoint } = await setup({ onQuery: () => (++asked < 3 ? 'serialization' : undefined) })
    expect(await withRetry(sql)('select 1 as one')).toStrictEqual([{ one: 1 }])
    expect(endpoint.count).toBe(3)
  })

  test('without an answer is given up, its outcome unknown', async () => {
    const { endpoint } = await setup({ onQuery: () => ({ slowMs: 2_000 }) })
    const sql = neonSql(endpoint.connectionString, { fetchEndpoint: endpoint.url, timeoutMs: 50 })
    await expect(sql('select 1')).rejects.toMatchObject({ code: null })
  })

  test('whose answer is cut short has an unknown outcome', async () => {
    const sql = neonSql('postgresql://u:p@h/d', { fetch: async () => new Response('{"fields": [') })
    await expect(sql('select 1')).rejects.toMatchObject({ name: 'SqlError', code: null })
  })
})

test('a session that Postgres ends is an error with its code, and the endpoint goes on', async () => {
  const pool = new Pool({ connectionString: await freshDatabase() })
  onTestFinished(() => pool.end())
  const { sql } = await setup({ backend: pool })
  const [row] = await sql<{ pid: number }>('select pg_backend_pid() as pid')
  const sleeping = sql('select pg_sleep(20)').catch((error: unknown) => error)
  await untilAsleep(sql)
  await sql('select pg_terminate_backend($1::int4)', [row?.pid ?? 0])
  expect(await sleeping).toMatchObject({ name: 'SqlError', code: '57P01' })
  expect(await sql('select 1 as one')).toStrictEqual([{ one: 1 }])
})

test('a connection to Postgres that breaks under a statement leaves its outcome unknown, and the endpoint goes on', async () => {
  const directUrl = await freshDatabase()
  const { url, breakAll } = await breakable(directUrl)
  const pool = new Pool({ connectionString: url })
  onTestFinished(() => pool.end())
  const direct = pgSql({ connectionString: directUrl })
  onTestFinished(() => direct.close())
  const { sql } = await setup({ backend: pool })
  const sleeping = sql('select pg_sleep(20)').catch((error: unknown) => error)
  await untilAsleep(direct.sql)
  breakAll()
  expect(await sleeping).toMatchObject({ name: 'SqlError', code: null })
  expect(await sql('select 1 as one')).toStrictEqual([{ one: 1 }])
})

test('a connection string that is none is refused without being shown', () => {
  expect(() => neonSql('postgresql://user:hunter2@')).toThrow(TypeError)
  expect(() => neonSql('hunter2')).not.toThrow('hunter2')
})

test('two databases in one process keep to their endpoints', async () => {
  const [one, other] = [await setup(), await setup()]
  await Promise.all([one.sql('select 1'), other.sql('select 1'), one.sql('select 1')])
  expect([one.endpoint.count, other.endpoint.count]).toStrictEqual([2, 1])
})

test('a count of statements knows what each costs', async () => {
  const texts: string[] = []
  const { sql, endpoint } = await setup({ onQuery: ({ text }) => void texts.push(text) })
  await sql('select 1 as one')
  await sql('select 2 as two')
  expect([texts, endpoint.count]).toStrictEqual([['select 1 as one', 'select 2 as two'], 2])
})

describe('the endpoint', () => {
  const ask = (endpoint: Endpoint, headers: Record<string, string> = {}, body = '{"query":"select 1 as one"}') =>
    fetch(endpoint.url, {
      method: 'POST',
      body,
      headers: {
        'Neon-Connection-String': endpoint.connectionString,
        'Neon-Raw-Text-Output': 'true',
        'Neon-Array-Mode': 'true',
        ...headers,
      },
    })

  test('answers in the shape that the driver reads', async () => {
    const { endpoint } = await setup()
    const answer = await ask(endpoint)
    expect(await answer.json()).toStrictEqual({
      command: 'SELECT',
      rowCount: 1,
      fields: [{ name: 'one', dataTypeID: 23, format: 'text' }],
      rows: [['1']],
      rowAsArray: true,
    })
    const asObjects = await ask(endpoint, { 'Neon-Array-Mode': 'false' })
    expect(await asObjects.json()).toMatchObject({ rows: [{ one: '1' }], rowAsArray: false })
  })

  test.each<[string, number, Record<string, string>]>([
    ['a web page', 403, { Origin: 'http://127.0.0.1:8787' }],
    ['a page of the null origin', 403, { Origin: 'null' }],
    ['another password', 401, { 'Neon-Connection-String': 'postgresql://callplane:guess@127.0.0.1/callplane' }],
    ['no connection string', 401, { 'Neon-Connection-String': '' }],
    ['parsed output', 501, { 'Neon-Raw-Text-Output': 'false' }],
    ['an unknown isolation level', 400, { 'Neon-Batch-Isolation-Level': 'serializable; drop table rows' }],
  ])('refuses %s with %i and runs nothing', async (_who, status, headers) => {
    const { endpoint } = await setup()
    expect((await ask(endpoint, headers, '{"queries":[{"query":"select 1"}]}')).status).toBe(status)
    expect(endpoint.count).toBe(0)
  })

  test.each(['', 'null', '[]', '{}', '{"query":1}', '{"query":"select 1","params":{}}', '{"queries":[1]}'])(
    'refuses the body %s',
    async (body) => {
      const { endpoint } = await setup()
      expect((await ask(endpoint, {}, body)).status).toBe(400)
    },
  )

  test('refuses a body over 64 MiB and answers on', async () => {
    const { endpoint, sql } = await setup()
    const big = await ask(endpoint, {}, 'x'.repeat(64 * 1024 * 1024 + 1)).then(
      ({ status }) => status,
      () => 'cut off',
    )
    expect([413, 'cut off']).toContain(big)
    expect(await sql('select 1 as one')).toStrictEqual([{ one: 1 }])
  })

  test('takes other JSON values as parameters', async () => {
    const { endpoint } = await setup()
    const query = 'select $1::int8 as n, $2::bool as b, $3::jsonb as j, $4::text[] as a'
    const answer = await ask(endpoint, {}, JSON.stringify({ query, params: [7, true, { x: 1 }, ['p', null]] }))
    expect(await answer.json()).toMatchObject({ rows: [['7', 't', '{"x": 1}', '{p,NULL}']] })
  })

  test('gives every field of an error', async () => {
    const { endpoint } = await setup()
    const answer = await ask(endpoint, {}, '{"query":"insert into rows (m) values (1)"}')
    expect(answer.status).toBe(400)
    expect(await answer.json()).toMatchObject({ severity: 'ERROR', code: '42703', position: '19', constraint: null })
  })
})

describe.each(['PGlite', 'Postgres'])('a batch on %s', (backendName) => {
  async function setupBatch(): Promise<{ driver: NeonQueryFunction<false, false>; endpoint: Endpoint }> {
    const pool = backendName === 'Postgres' ? new Pool({ connectionString: await freshDatabase() }) : undefined
    if (pool) onTestFinished(() => pool.end())
    const { endpoint } = await setup({ backend: pool ?? embedded.engine })
    neonConfig.fetchEndpoint = endpoint.url
    const driver = neon(endpoint.connectionString)
    await driver.query('drop table if exists batches')
    await driver.query('create table batches (n int8)')
    return { driver, endpoint }
  }

  test('is one transaction of the isolation that it asks for', async () => {
    const { driver } = await setupBatch()
    const queries = [
      driver`select current_setting('transaction_isolation') as isolation, current_setting('transaction_read_only') as ro`,
      driver`select ${new Uint8Array([1, 2])}::bytea as bytes`,
    ]
    const results = await driver.transaction(queries, {
      isolationLevel: 'Serializable',
      readOnly: true,
      deferrable: true,
    })
    expect(results[0]).toStrictEqual([{ isolation: 'serializable', ro: 'on' }])
    expect(results[1]?.[0]).toMatchObject({ bytes: Buffer.from([1, 2]) })
  })

  test('leaves nothing behind when one of it fails, and the next one works', async () => {
    const { driver } = await setupBatch()
    const failing = driver.transaction([driver`insert into batches values (1)`, driver`select 1 / 0`])
    await expect(failing).rejects.toMatchObject({ name: 'NeonDbError', code: '22012' })
    await driver.transaction([driver`insert into batches values (2)`, driver`insert into batches values (3)`])
    expect(await driver`select n from batches order by n`).toStrictEqual([{ n: '2' }, { n: '3' }])
  })
})
