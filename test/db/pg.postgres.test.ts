// What pg's pool does when the server, the network or a pooler does not play along.
import { connect } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { pgSql, type PgDatabase, type PgOptions } from '../../src/db/pg.ts'
import { isOutcomeUnknown, SqlError } from '../../src/db/sql.ts'
import { freshDatabase } from '../support/fresh-database.ts'
import { breakable, serveTcp } from '../support/tcp.ts'
import { untilAsleep } from './asleep.ts'

async function setup(options: Partial<PgOptions> = {}): Promise<PgDatabase & { url: string }> {
  const url = options.connectionString ?? (await freshDatabase())
  const database = pgSql({ max: 1, ...options, connectionString: url })
  onTestFinished(() => database.close().catch(() => {}))
  return { ...database, url }
}

async function failure(promise: Promise<unknown>): Promise<SqlError> {
  const error = await promise.catch((error: unknown) => error)
  if (error instanceof SqlError) return error
  throw new Error(`no SqlError but ${String(error)}`)
}

test('a statement is prepared once and then used by name', async () => {
  const { sql } = await setup()
  for (let n = 0; n < 3; n++) await sql('select $1::int8 as n', [n])
  const prepared = await sql(`select statement, generic_plans + custom_plans as plans from pg_prepared_statements`)
  expect(prepared).toContainEqual({ statement: 'select $1::int8 as n', plans: 3 })
})

test('a name that the server forgot is given up for good, and the statement still runs', async () => {
  const { sql } = await setup()
  await sql('select $1::int8 as n', [1])
  await sql('deallocate all')
  expect(await sql('select $1::int8 as n', [2])).toStrictEqual([{ n: 2 }])
  expect(await sql('select $1::int8 as n', [3])).toStrictEqual([{ n: 3 }])
  expect(await sql('select statement from pg_prepared_statements')).toStrictEqual([])
  await expect(sql('select 1 as a; select 2 as b')).rejects.toMatchObject({ code: '42601' })
})

test('a name that another client of a pooler took is given up for good, and the statement still runs', async () => {
  const { sql } = await setup()
  await sql('select $1::int8 as n', [1])
  const [row] = await sql<{ name: string }>('select name from pg_prepared_statements where statement = $1', [
    'select $1::int8 as n',
  ])
  const other = await setup()
  await other.sql(`prepare ${row?.name} as select 'of another' as n`)
  expect(await other.sql('select $1::int8 as n', [2])).toStrictEqual([{ n: 2 }])
})

test('a statement that is refused for what it says keeps its name', async () => {
  const { sql } = await setup()
  for (let n = 0; n < 2; n++)
    await expect(sql('select 1 / $1::int8 as n', [0])).rejects.toMatchObject({ code: '22012' })
  const [row] = await sql('select count(*) as n from pg_prepared_statements where statement = $1', [
    'select 1 / $1::int8 as n',
  ])
  expect(row).toStrictEqual({ n: 1 })
})

test('a plan that does not fit its table any more is made anew', async () => {
  const { sql } = await setup({ max: 3 })
  await sql('create table changing (value int8)')
  await Promise.all(Array.from({ length: 3 }, () => sql('select * from changing, pg_sleep(0.05)')))
  await sql('alter table changing alter column value type text')
  await sql(`insert into changing values ('x')`)
  for (let i = 0; i < 3; i++) expect(await sql('select value from changing')).toStrictEqual([{ value: 'x' }])
  const rows = await Promise.all(Array.from({ length: 3 }, () => sql('select * from changing, pg_sleep(0.05)')))
  expect(rows.flat().map((row) => row['value'])).toStrictEqual(['x', 'x', 'x'])
})

test('an ordinary error does not cost the connection', async () => {
  const { sql } = await setup()
  const before = await sql('select pg_backend_pid() as pid')
  await expect(sql('select 1 / 0')).rejects.toMatchObject({ code: '22012' })
  expect(await sql('select pg_backend_pid() as pid')).toStrictEqual(before)
})

test('a session ended by the server has an unknown outcome, and the next statement gets another', async () => {
  const { sql, url } = await setup()
  const admin = await setup({ connectionString: url })
  const [row] = await sql<{ pid: number }>('select pg_backend_pid() as pid')
  const sleeping = failure(sql('select pg_sleep(20)'))
  await untilAsleep(admin.sql)
  await admin.sql('select pg_terminate_backend($1::int4)', [row?.pid ?? 0])
  const error = await sleeping
  expect(error.code).toBe('57P01')
  expect(isOutcomeUnknown(error)).toBe(true)
  expect(await sql('select 1 as one')).toStrictEqual([{ one: 1 }])
})

test('an idle session ended by the server goes unnoticed', async () => {
  const { sql, url } = await setup()
  const admin = await setup({ connectionString: url })
  const [row] = await sql<{ pid: number }>('select pg_backend_pid() as pid')
  const pid = row?.pid ?? 0
  await admin.sql('select pg_terminate_backend($1::int4)', [pid])
  const isThere = async () => (await admin.sql('select pid from pg_stat_activity where pid = $1::int4', [pid])).length
  await expect.poll(isThere).toBe(0)
  await setImmediate() // its goodbye came before: now it is read
  expect(await sql('select 1 as one')).toStrictEqual([{ one: 1 }])
})

test('a connection that breaks under a statement leaves its outcome unknown', async () => {
  const direct = await setup()
  const { url, breakAll } = await breakable(direct.url)
  const { sql } = await setup({ connectionString: url })
  await sql('select 1')
  const sleeping = failure(sql('select pg_sleep(20)'))
  await untilAsleep(direct.sql)
  breakAll()
  const error = await sleeping
  expect([error.code, isOutcomeUnknown(error)]).toStrictEqual([null, true])
  expect(await sql('select 1 as one')).toStrictEqual([{ one: 1 }])
})

test('a server that is not there is an error of its own: nothing was sent', async () => {
  const { sql } = await setup({ connectionString: 'postgresql://user:secret@127.0.0.1:1/db' })
  const error = await failure(sql('select 1'))
  expect([error.code, isOutcomeUnknown(error)]).toStrictEqual(['08001', false])
  expect(error.message).not.toContain('secret')
})

test('a wrong password and a missing database keep their SQLSTATE', async () => {
  const url = new URL(await freshDatabase())
  url.pathname = '/nowhere'
  expect((await failure((await setup({ connectionString: url.href })).sql('select 1'))).code).toBe('3D000')
  url.password = 'wrong'
  expect((await failure((await setup({ connectionString: url.href })).sql('select 1'))).code).toBe('28P01')
})

test('a server that accepts and says nothing is given up after the connect timeout', async () => {
  const port = await serveTcp((socket) => void socket.resume())
  const { sql } = await setup({ connectionString: `postgresql://u:p@127.0.0.1:${port}/db`, connectTimeoutMs: 200 })
  expect((await failure(sql('select 1'))).code).toBe('08001')
})

test('a busy pool is an error after the connect timeout: nothing was sent', async () => {
  const { sql } = await setup({ connectTimeoutMs: 200 })
  const sleeping = sql('select pg_sleep(1)')
  expect((await failure(sql('select 1'))).code).toBe('08001')
  await sleeping
})

test('more statements than may wait for a connection are turned away at once, and those before them run', async () => {
  const { sql } = await setup({ maxWaiting: 2 })
  await sql('select 1')
  const held = sql('select pg_sleep(0.3)')
  await setImmediate() // it has its connection
  const waiting = [sql<{ n: number }>('select 1::int8 as n'), sql<{ n: number }>('select 2::int8 as n')]
  const refused = await failure(sql('select 3'))
  expect(refused).toMatchObject({ code: '53300' })
  expect(isOutcomeUnknown(refused)).toBe(false)
  await held
  expect((await Promise.all(waiting)).flat()).toEqual([{ n: 1 }, { n: 2 }])
})

test('the server ends a statement after the statement timeout', async () => {
  const { sql } = await setup({ statementTimeoutMs: 100 })
  expect((await failure(sql('select pg_sleep(20)'))).code).toBe('57014')
})

/** PgBouncer, as far as it ends a connection at the start with FATAL 08P01, when `isRefused` finds it should. */
function servePooler(
  target: number,
  message: string,
  isRefused: (startup: Buffer) => boolean,
  code = '08P01',
): Promise<number> {
  const text = Buffer.from(`SFATAL\0VFATAL\0C${code}\0M${message}\0\0`)
  const refusal = Buffer.concat([Buffer.from('E'), Buffer.from([0, 0, 0, text.length + 4]), text])
  return serveTcp((socket) => {
    socket.once('data', (startup: Buffer) => {
      if (isRefused(startup)) return void socket.end(refusal)
      const server = connect(target, '127.0.0.1').on('error', () => {})
      server.write(startup)
      socket.pipe(server).pipe(socket)
    })
  })
}

test('a pooler that takes no settings at the start is used without them, also by statements that met it at once', async () => {
  const url = new URL(await freshDatabase())
  const message = 'unsupported startup parameter: statement_timeout'
  const port = await servePooler(Number(url.port), message, (startup) => startup.includes('statement_timeout'))
  url.port = String(port)
  const { sql } = await setup({ connectionString: url.href, max: 5 })
  const rows = await Promise.all(Array.from({ length: 5 }, () => sql('show statement_timeout')))
  expect(rows.flat()).toStrictEqual(Array.from({ length: 5 }, () => ({ statement_timeout: '0' })))
})

test('a database that plans in other ways is used without the settings for that, and with the statement timeout', async () => {
  const url = new URL(await freshDatabase())
  const message = 'unrecognized configuration parameter "random_page_cost"'
  const isRefused = (startup: Buffer) => startup.includes('random_page_cost')
  url.port = String(await servePooler(Number(url.port), message, isRefused, '42704'))
  const { sql } = await setup({ connectionString: url.href, max: 5, statementTimeoutMs: 7_000 })
  const rows = await Promise.all(Array.from({ length: 5 }, () => sql('show statement_timeout')))
  expect(rows.flat()).toStrictEqual(Array.from({ length: 5 }, () => ({ statement_timeout: '7s' })))
})

test('a pooler that has no server to give is an error of its own: nothing was sent', async () => {
  const port = await servePooler(0, 'server login has been failing', () => true)
  const { sql } = await setup({ connectionString: `postgresql://u:p@127.0.0.1:${port}/db` })
  const error = await failure(sql('select 1'))
  expect([error.code, error.message, isOutcomeUnknown(error)]).toStrictEqual([
    '08001',
    'server login has been failing',
    false,
  ])
})

test('the connection to LISTEN on is outside the pool and hears what is notified', async () => {
  const { sql, connect: open } = await setup()
  const client = await open()
  const heard = new Promise((resolve) => client.once('notification', resolve))
  await client.query('listen somewhere')
  await sql(`select pg_notify('somewhere', 'hello')`)
  expect(await heard).toMatchObject({ channel: 'somewhere', payload: 'hello' })
  await client.end()
})

test('a closed pool says so: nothing was sent', async () => {
  const { sql, close } = await setup()
  await sql('select 1')
  await close()
  expect((await failure(sql('select 1'))).code).toBe('08003')
})

test('a connection outside the pool that the server ends before anybody listens to it ends nothing else', async () => {
  const { connect: open, sql } = await setup()
  const client = await open()
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid')
  const ended = new Promise((resolve) => client.once('end', resolve))
  await sql('select pg_terminate_backend($1)', [rows[0]?.pid ?? 0])
  // What nobody heard would fail the run.
  await ended
  await expect(client.query('select 1')).rejects.toThrow('not queryable')
})
