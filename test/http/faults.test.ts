// When the database fails, or the plane itself: what the asker hears, and what the log keeps.
import { expect, test } from 'vitest'
import { inProcessBell } from '../../src/bell/in-process.ts'
import { SqlError } from '../../src/db/sql.ts'
import { CallplaneError } from '../../src/protocol/errors.ts'
import { embeddedSql, setup } from '../support/plane.ts'
import { aCall, create, pollOnce, post, succeeded } from '../support/wire.ts'

async function broken(error: Error) {
  let isBroken = false
  const sql = await embeddedSql()
  const plane = await setup({
    sql: (text, params) => {
      if (isBroken) throw error
      return sql(text, params)
    },
  })
  isBroken = true
  return plane
}

test.each([
  ['a lost answer', new SqlError('Connection terminated unexpectedly', null), 503, 'database_unavailable', '1'],
  [
    'a database that is starting',
    new SqlError('the database system is starting up', '57P03'),
    503,
    'database_unavailable',
    '1',
  ],
  ['a crowd before the database', new SqlError('1000 statements wait', '53300'), 503, 'overloaded', '1'],
  ['a missing table', new SqlError('relation "callplane.jobs" does not exist', '42P01'), 503, 'schema_outdated', '1'],
  ['a fault of ours', new TypeError('secret detail of the plane'), 500, 'internal', null],
])('%s is answered with a code, and its detail is for the log alone', async (_, error, status, code, retryAfter) => {
  const plane = await broken(error)
  const answer = await post(plane, '/v1/calls', { calls: [await aCall()] })
  expect(answer).toMatchObject({ status, body: { error: { code } } })
  expect(answer.headers.get('retry-after')).toBe(retryAfter)
  expect(JSON.stringify(answer.body)).not.toContain(error.message)
  expect(plane.logged).toMatchObject([{ level: 'error', event: 'request_failed', code }])
  expect(plane.logged[0]?.['detail']).toContain(error.message)
  expect(plane.logged[0]?.['requestId']).toBe(answer.headers.get('callplane-request-id'))
})

test('while the bell cannot be armed nothing is committed, and the same is taken once it can', async () => {
  const bell = inProcessBell({ lookEveryMs: Number.POSITIVE_INFINITY })
  let isReached = true
  const plane = await setup({
    bell: {
      ...bell,
      async arm(namespace) {
        if (!isReached) throw new CallplaneError('overloaded')
        await bell.arm(namespace)
      },
    },
  })
  const runner = '44444444-4444-4444-8444-444444444444'
  const states = async () =>
    (
      await plane.sql<{ state: string }>('select state from callplane.jobs where namespace = $1', [plane.namespace])
    ).map(({ state }) => state)
  const refused = { status: 503, body: { error: { code: 'overloaded', isRetryable: true } } }
  const call = await aCall()

  isReached = false
  const answer = await post(plane, '/v1/calls', { calls: [call] })
  expect(answer).toMatchObject(refused)
  expect(answer.headers.get('retry-after')).toBe('1')
  expect(await states()).toEqual([])
  isReached = true
  await create(plane, [call])

  const [job] = (await pollOnce(plane, { runner })).jobs
  if (job === undefined) throw new Error('nothing to work on')
  const reports = [succeeded(job, 'done')]
  isReached = false
  expect(await post(plane, '/v1/runners/poll', { runner, reports })).toMatchObject(refused)
  expect(await states()).toEqual(['running'])
  isReached = true
  expect((await pollOnce(plane, { runner, reports })).reports).toEqual([{}])
  expect(await states()).toEqual(['succeeded'])
})

test('liveness asks nothing of the database; readiness does', async () => {
  const plane = await broken(new SqlError('gone', null))
  expect((await plane.app.request('/health')).status).toBe(200)
  const ready = await plane.app.request('/ready')
  expect(ready.status).toBe(503)
  expect(await ready.json()).toMatchObject({ error: { code: 'database_unavailable' } })
  expect((await (await setup()).app.request('/ready')).status).toBe(200)
})
