// Redrive and lists, statement by statement: what a new job takes from the old one, how often, and what a filter finds.
import { beforeEach, describe, expect, test } from 'vitest'
import type { Sql } from '../../src/db/sql.ts'
import { cancelJobs } from '../../src/jobs/cancel.ts'
import { claimJobs } from '../../src/jobs/claim.ts'
import { completeJobs } from '../../src/jobs/complete.ts'
import { enqueueJobs } from '../../src/jobs/enqueue.ts'
import { failJobs } from '../../src/jobs/fail.ts'
import { beginRedrive, findRedrivable } from '../../src/jobs/find-redrivable.ts'
import { findJob } from '../../src/jobs/find.ts'
import { listJobs, MAX_LOOKED_AT } from '../../src/jobs/list.ts'
import { redriveJobs, type Redriven } from '../../src/jobs/redrive.ts'
import type { CallRequest } from '../../src/protocol/calls.ts'
import { callIdTimeMs, newCallId } from '../../src/protocol/call-id.ts'
import type { JobState } from '../../src/protocol/job.ts'
import type { CallFilter } from '../../src/protocol/list-calls.ts'
import { uuid } from '../../src/protocol/shape.ts'
import { embeddedSql } from '../support/plane.ts'

let sql: Sql
let namespace: string
let tests = 0

beforeEach(async () => {
  sql = await embeddedSql()
  namespace = `redrive_${process.pid}_${tests++}`
})

const reach = (services: string[] | null = null) => ({ namespace, services })
const find = (id: string) => findJob(sql, reach(), id)
const redrive = (ids: string[], services: string[] | null = null) => redriveJobs(sql, reach(services), ids)
const enqueue = (calls: CallRequest[]) => enqueueJobs(sql, namespace, calls, { retentionMs: 7 * 86_400_000 })

function aCall(options: Partial<CallRequest> = {}): CallRequest {
  const args = new Uint8Array([1, 2, 3])
  return { id: newCallId(), service: 's', function: 'f', args, argsDigest: new Uint8Array(32).fill(9), ...options }
}

async function claim(service = 's') {
  const services = [{ name: service, functions: ['f'], capacity: 1_000 }]
  const runner = { namespace, id: crypto.randomUUID() }
  return (await claimJobs(sql, runner, { claimId: crypto.randomUUID(), services, maxBytes: 1e9 })).jobs
}

const failure = ({ id, token }: { id: string; token: string }) => ({
  id,
  token,
  error: new Uint8Array([7]),
  isRetryable: false,
})

/** Makes the calls, and brings them to an end. */
async function ended(calls: CallRequest[], end: 'succeeded' | 'failed' | 'cancelled' = 'failed'): Promise<string[]> {
  await enqueue(calls)
  const ids = calls.map(({ id }) => id)
  if (end === 'cancelled') await cancelJobs(sql, reach(), ids, 'no')
  else {
    const jobs = await claim(calls[0]?.service)
    if (end === 'failed') await failJobs(sql, namespace, jobs.map(failure))
    else {
      await completeJobs(
        sql,
        namespace,
        jobs.map(({ id, token }) => ({ id, token, result: new Uint8Array([5]) })),
      )
    }
  }
  return ids
}

const heirOf = (one: Redriven | undefined): string => (one !== undefined && 'redrivenAs' in one ? one.redrivenAs : '')

describe('a redrive', () => {
  test.each(['succeeded', 'failed', 'cancelled'] as const)('of a %s call is a new one that names it', async (end) => {
    const call = aCall({ priority: 4, timeoutMs: 5_000, parent: newCallId(), retry: { attempts: 2, on: ['throw'] } })
    await ended([call], end)
    const [one] = await redrive([call.id])
    expect(one).toMatchObject({ id: call.id, isNew: true, service: 's' })
    const heir = heirOf(one)
    expect(await find(call.id)).toMatchObject({ state: end, redrivenAs: heir, redrivenFrom: null, origin: call.id })
    expect(await find(heir)).toMatchObject({
      state: 'pending',
      attempt: 0,
      maxAttempts: 2,
      isDue: true,
      parent: call.parent,
      origin: call.id,
      redrivenFrom: call.id,
      redrivenAs: null,
      attempts: [],
      outcome: null,
    })
    const copied = `select service, function, args, args_digest, priority, retry, timeout_ms, lease_ms, max_attempts
      from callplane.jobs where namespace = $1 and id = $2::uuid`
    expect(await sql(copied, [namespace, heir])).toEqual(await sql(copied, [namespace, call.id]))
  })

  test.each(['pending', 'running'] as const)('of a %s call is refused, and says what to do', async (state) => {
    const call = aCall()
    await enqueue([call])
    if (state === 'running') await claim()
    expect(await redrive([call.id])).toMatchObject([
      { id: call.id, error: { code: 'call_not_ended', message: expect.stringMatching(`is ${state}: .*cancel it`) } },
    ])
    expect((await find(call.id))?.redrivenAs).toBeNull()
  })

  test('goes on with the fence, so that a late writer of the old call is told from the new one', async () => {
    const call = aCall({ retry: { attempts: 3, backoff: { initialMs: 0 } } })
    await enqueue([call])
    for (let attempt = 0; attempt < 3; attempt++) {
      await failJobs(
        sql,
        namespace,
        (await claim()).map((job) => ({ ...failure(job), isRetryable: true })),
      )
    }
    const [one] = await redrive([call.id])
    expect(await claim()).toMatchObject([{ id: heirOf(one), attempt: 1, maxAttempts: 3, fence: 4 }])
  })

  test('has the whole time until its deadline again, and is due at once', async () => {
    const call = aCall({ deadlineMs: 3_600_000, delayMs: 60_000 })
    await ended([call], 'cancelled')
    await sql(
      `update callplane.jobs set created_at = created_at - interval '2 hours', deadline_at = deadline_at - interval '2 hours'
      where namespace = $1`,
      [namespace],
    )
    const heir = heirOf((await redrive([call.id]))[0])
    const [row] = await sql<{ left_ms: number; due_ms: number }>(
      `select (extract(epoch from deadline_at - now()) * 1000)::int8 as left_ms,
        (extract(epoch from run_at - now()) * 1000)::int8 as due_ms
      from callplane.jobs where namespace = $1 and id = $2::uuid`,
      [namespace, heir],
    )
    expect(row?.left_ms).toBeGreaterThan(3_590_000)
    expect(row?.left_ms).toBeLessThanOrEqual(3_600_000)
    expect(row?.due_ms).toBeLessThanOrEqual(0)
  })

  test('sent again is the same one; to run it once more is to redrive the new one', async () => {
    const call = aCall()
    await ended([call])
    const [first] = await redrive([call.id])
    expect(await redrive([call.id])).toEqual([{ ...first, isNew: false }])
    const heir = heirOf(first)
    expect(await redrive([heir])).toMatchObject([{ error: { code: 'call_not_ended' } }])
    await failJobs(sql, namespace, (await claim()).map(failure))
    expect(await redrive([call.id])).toEqual([{ ...first, isNew: false }])
    const second = heirOf((await redrive([heir]))[0])
    expect(new Set([call.id, heir, second]).size).toBe(3)
    expect(await find(second)).toMatchObject({ state: 'pending', origin: call.id, redrivenFrom: heir })
  })

  test('has an id that is a UUIDv7 with the time of the old one, however old that is', async () => {
    const call = aCall({ id: newCallId(Date.now() - 3 * 86_400_000) })
    await ended([call])
    const heir = heirOf((await redrive([call.id]))[0])
    expect(uuid().parse(heir, 'id')).toBe(heir)
    expect(heir[14]).toBe('7')
    expect(callIdTimeMs(heir)).toBe(callIdTimeMs(call.id))
  })

  test('answers in the order asked; an unknown id and another’s are not found', async () => {
    const [mine, other] = [aCall(), aCall({ service: 'other' })]
    await ended([mine])
    await ended([other])
    const unknown = newCallId()
    expect(await redrive([other.id, unknown, mine.id], ['s'])).toMatchObject([
      { id: other.id, error: { code: 'not_found' } },
      { id: unknown, error: { code: 'not_found' } },
      { id: mine.id, isNew: true },
    ])
    const elsewhere = { namespace: `${namespace}_other`, services: null }
    expect(await redriveJobs(sql, elsewhere, [other.id])).toMatchObject([{ error: { code: 'not_found' } }])
    expect((await find(other.id))?.redrivenAs).toBeNull()
  })

  test('whose id was taken by a call of another kind says so', async () => {
    const [call, twin] = [aCall(), aCall({ service: 'twin' })]
    await ended([call])
    // Where else the new id would be is known from another namespace.
    await enqueueJobs(sql, `${namespace}_b`, [call], { retentionMs: 7 * 86_400_000 })
    await cancelJobs(sql, { namespace: `${namespace}_b`, services: null }, [call.id], 'no')
    const heir = heirOf((await redriveJobs(sql, { namespace: `${namespace}_b`, services: null }, [call.id]))[0])
    await enqueue([{ ...twin, id: heir }])
    expect(await redrive([call.id])).toMatchObject([{ error: { code: 'call_id_conflict' } }])
    expect((await find(call.id))?.redrivenAs).toBeNull()
  })

  test('of many large calls copies so many bytes a statement, and all of them', async () => {
    const calls = Array.from({ length: 20 }, () => aCall({ args: new Uint8Array(1_048_576) }))
    for (const call of calls) await enqueue([call])
    const ids = calls.map(({ id }) => id)
    await cancelJobs(sql, reach(), ids, 'no')
    let statements = 0
    const counted: Sql = (text, params) => {
      statements++
      return sql(text, params)
    }
    const made = await redriveJobs(counted, reach(), ids)
    expect(made.map((one) => [one.id, 'isNew' in one && one.isNew])).toEqual(ids.map((id) => [id, true]))
    expect(statements).toBe(2)
  })
})

describe('a list', () => {
  const list = async (filter: CallFilter = {}, services: string[] | null = null) =>
    (await listJobs(sql, reach(services), filter, { after: null, limit: 200 })).items.map(({ id }) => id)

  test('is of the namespace, newest first, in pages that meet', async () => {
    const calls = Array.from({ length: 25 }, (_, n) => aCall({ id: newCallId(Date.now() - n * 1_000) }))
    await enqueue(calls.toReversed())
    const ids: string[] = []
    for (let after: string | null = null, pages = 0; pages < 4; pages++) {
      const page = await listJobs(sql, reach(), {}, { after, limit: 10 })
      ids.push(...page.items.map(({ id }) => id))
      after = page.next
      expect(after === null).toBe(pages === 2)
      if (after === null) break
    }
    expect(ids).toEqual(calls.map(({ id }) => id))
    expect(
      (await listJobs(sql, { namespace: 'nobody', services: null }, {}, { after: null, limit: 10 })).items,
    ).toEqual([])
  })

  test('keeps to what the filter says, and to the services of the reader', async () => {
    const parent = newCallId()
    const pending = aCall({ parent })
    const [failed] = await ended([aCall({ service: 'a' })])
    const [cancelled] = await ended([aCall({ service: 'a', function: 'g' })], 'cancelled')
    await enqueue([pending])
    await sql(
      `update callplane.jobs set created_at = now() - interval '1 hour' where namespace = $1 and id = $2::uuid`,
      [namespace, cancelled ?? ''],
    )
    const cases: [CallFilter, (string | undefined)[]][] = [
      [{}, [pending.id, cancelled, failed]],
      [{ state: ['failed'] }, [failed]],
      [{ state: ['failed', 'cancelled'] }, [cancelled, failed]],
      [{ state: ['running'] }, []],
      [{ failure: ['threw', 'stalled'] }, [failed]],
      [{ failure: ['expired'] }, []],
      [{ failure: ['threw'], state: ['pending'] }, []],
      [{ service: 'a' }, [cancelled, failed]],
      [{ service: 'a', function: 'g' }, [cancelled]],
      [{ function: 'f' }, [pending.id, failed]],
      [{ parent }, [pending.id]],
      [{ olderThanMs: 60_000 }, [cancelled]],
      [{ newerThanMs: 60_000 }, [pending.id, failed]],
    ]
    for (const [filter, ids] of cases) expect([filter, new Set(await list(filter))]).toEqual([filter, new Set(ids)])
    expect(await list({}, ['s'])).toEqual([pending.id])
    expect(await list({ service: 'a' }, ['s'])).toEqual([])
  })

  test('shows who runs a call anew, and whom it runs anew', async () => {
    const [old = ''] = await ended([aCall()])
    const heir = heirOf((await redrive([old]))[0])
    const { items } = await listJobs(sql, reach(), {}, { after: null, limit: 10 })
    expect(items.find(({ id }) => id === old)).toMatchObject({ origin: old, redrivenFrom: null, redrivenAs: heir })
    expect(items.find(({ id }) => id === heir)).toMatchObject({ origin: old, redrivenFrom: old, redrivenAs: null })
  })

  test(
    'looks at so many calls a page: a filter that fits few gives empty pages that go on',
    { timeout: 60_000 },
    async () => {
      await fill(MAX_LOOKED_AT + 10, 'cancelled')
      const page = await listJobs(sql, reach(), { state: ['pending'] }, { after: null, limit: 10 })
      expect(page.items).toEqual([])
      const rest = await listJobs(sql, reach(), { state: ['cancelled'] }, { after: page.next, limit: 200 })
      expect([rest.items.length, rest.next]).toEqual([10, null])
    },
  )
})

/** Rows as they are, without a life: many at once. */
async function fill(count: number, state: JobState): Promise<void> {
  await sql(
    `insert into callplane.jobs (namespace, id, service, function, args, args_digest, origin_id, max_attempts, lease_ms,
      state, finished_at, failure)
    select $1, id, 's', 'f', '\\x01'::bytea, decode(repeat('00', 32), 'hex'), id, 3, 30000, $3, now(),
      case when $3 = 'failed' then 'expired' end
    from (select gen_random_uuid() as id from generate_series(1, $2::int8)) x`,
    [namespace, count, state],
  )
}

describe('a redrive by filter', () => {
  /** Steps until the run is over; answers the ids of each. */
  async function run(
    filter: CallFilter,
    { limit = 500, services = null as string[] | null, between = async () => {} } = {},
  ) {
    const steps: string[][] = []
    for (let cursor = await beginRedrive(sql); steps.length < 20;) {
      const { ids, next } = await findRedrivable(sql, reach(services), filter, { cursor, limit })
      await redrive(ids, services)
      steps.push(ids)
      await between()
      if (next === null) return steps
      cursor = next
    }
    throw new Error('the run does not end')
  }

  test('takes what failed, or the states that it names, once', async () => {
    const [failed = ''] = await ended([aCall()])
    const [cancelled = ''] = await ended([aCall()], 'cancelled')
    const [succeeded = ''] = await ended([aCall()], 'succeeded')
    const pending = aCall()
    await enqueue([pending])
    expect((await run({})).flat()).toEqual([failed])
    expect((await run({})).flat()).toEqual([])
    expect((await run({ state: ['cancelled', 'succeeded', 'pending'] })).flat().toSorted()).toEqual(
      [cancelled, succeeded].toSorted(),
    )
    expect((await find(pending.id))?.redrivenAs).toBeNull()
  })

  test('keeps to the filter and to the services of the key', async () => {
    const [a = ''] = await ended([aCall({ service: 'a' })])
    const [b = ''] = await ended([aCall({ service: 'b' })])
    expect((await run({ service: 'b' }, { services: ['a'] })).flat()).toEqual([])
    expect((await run({ failure: ['expired'] })).flat()).toEqual([])
    expect((await run({}, { services: ['a'] })).flat()).toEqual([a])
    expect((await run({ service: 'b', failure: ['threw'] })).flat()).toEqual([b])
  })

  test('does not redrive what it has made, though that fails while it runs', async () => {
    const ids = await ended(Array.from({ length: 40 }, () => aCall()))
    const between = async () => void (await failJobs(sql, namespace, (await claim()).map(failure)))
    const steps = await run({}, { limit: 10, between })
    expect(steps.flat().toSorted()).toEqual(ids.toSorted())
    expect((await run({})).flat()).toHaveLength(40)
  })

  test('goes on after the last that was looked at where nothing fits', { timeout: 60_000 }, async () => {
    await fill(MAX_LOOKED_AT + 5, 'failed')
    await sql(
      `update callplane.jobs set function = 'last' where namespace = $1 and id = (
      select id from callplane.jobs where namespace = $1 order by id desc limit 1)`,
      [namespace],
    )
    const steps = await run({ function: 'last' })
    expect(steps.map((ids) => ids.length)).toEqual([0, 1])
  })
})
