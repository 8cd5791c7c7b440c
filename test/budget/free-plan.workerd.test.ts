// What each kind of request may ask of others, so that it has room on Cloudflare's free plan, where nothing else would say so.
import { env, exports } from 'cloudflare:workers'
import { evictDurableObject, runInDurableObject } from 'cloudflare:test'
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import type { ClaimedJob } from '../../src/protocol/runners.ts'
import { setup, sql } from '../support/worker.ts'
import { aCall, create, pollOnce, post, succeeded, threw, type WirePlane } from '../support/wire.ts'
import { overFreePlan, spent, statementsOf, type Spent } from './meter.ts'

const RUNNER = '33333333-3333-4333-8333-333333333333'
const CREATE = 'POST /v1/calls'
const WAIT = 'POST /v1/calls/wait'
const POLL = 'POST /v1/runners/poll'
const KEYS = 'POST /v1/keys'

/** Together they are the subrequests. Whoever saves one lowers its budget. */
interface Budget {
  statements: number
  /** Calls to Durable Objects. */
  rings: number
}

interface Namespace extends WirePlane {
  name: string
  request: (path: string, init: RequestInit) => Promise<Response>
  get: (path: string) => Promise<unknown>
}

/** All that was spent in the test. */
const inTest: Spent[] = []

/** Each is held to the plan, also what was not asked for its own sake. */
afterEach(() => {
  expect(overFreePlan([...inTest.splice(0), ...spent()])).toEqual([])
})

async function fresh(): Promise<Namespace> {
  const { options, namespace } = await setup()
  const request = (path: string, init: RequestInit) => options.fetch(options.url + path, init)
  const headers = { authorization: `Bearer ${options.key}` }
  const get = async (path: string) => (await request(path, { headers })).json()
  return { name: namespace, options, request, get }
}

/** Its key is known, its bell is armed, its runner has been seen, and the isolate has just swept: its polls will not. */
async function warm(): Promise<Namespace> {
  const plane = await fresh()
  await register(plane, RUNNER)
  await cron()
  return plane
}

const register = (plane: Namespace, runner: string) =>
  post(plane, '/v1/runners/register', {
    runner,
    services: [{ name: 'greeter', slots: 1, functions: [{ name: 'hello' }] }],
  })

/** Runs it, and holds the first request that is so called to its budget; those beside it are held to the plan alone. */
async function expectWithin(budget: Budget, what: string, ask: () => Promise<unknown>): Promise<void> {
  inTest.push(...spent())
  await ask()
  const all = spent()
  inTest.push(...all)
  const one = all.find((spent) => spent.what.startsWith(what))
  if (one === undefined) throw new Error(`${what} was not asked`)
  const { statements, rings } = one
  const isWithin = statements <= budget.statements && rings <= budget.rings
  expect(isWithin ? budget : { statements, rings }, what).toEqual(budget)
}

const calls = (count: number, options: Parameters<typeof aCall>[0] = {}) =>
  Promise.all(Array.from({ length: count }, () => aCall(options)))
const idsOf = (these: readonly { id: string }[]) => these.map(({ id }) => id)

/** What is left of them would be swept under the tests that follow. */
function cancelAtEnd(plane: WirePlane, made: readonly { id: string }[]): void {
  onTestFinished(async () => {
    await post(plane, '/v1/calls/cancel', { ids: idsOf(made) })
  })
}

/** So many jobs that the runner holds. */
async function claimed(plane: WirePlane, count: number): Promise<ClaimedJob[]> {
  const made = await calls(count)
  await create(plane, made)
  cancelAtEnd(plane, made)
  const { jobs } = await pollOnce(plane, { runner: RUNNER, capacity: count })
  expect(jobs).toHaveLength(count)
  return jobs
}

/** Rings again whenever the request has looked once more, until its answer is there: each ring costs it a look. */
async function ringUntil(answer: Promise<unknown>, what: string, ring: () => Promise<unknown>): Promise<void> {
  const there = new AbortController()
  const settled = answer.finally(() => there.abort())
  for (let rings = 0; !there.signal.aborted; rings++) {
    const hasLooked = () => there.signal.aborted || statementsOf(what) > rings
    await vi.waitUntil(hasLooked, { timeout: 10_000, interval: 1 })
    if (!there.signal.aborted) await ring()
  }
  await settled
}

const cron = () => exports.default.scheduled({ scheduledTime: Date.now(), cron: '* * * * *', noRetry() {} })

describe('to create', () => {
  test('a call', async () => {
    const plane = await warm()
    const made = await aCall()
    await expectWithin({ statements: 1, rings: 1 }, CREATE, () => create(plane, [made]))
  })

  test('a call with a key that the isolate does not know, in a namespace where nobody wrote', async () => {
    const plane = await fresh()
    const made = await aCall()
    // The key is looked up; the bell of the namespace and the one that keeps the alarm are armed.
    await expectWithin({ statements: 2, rings: 3 }, CREATE, () => create(plane, [made]))
  })

  test('a batch of 1,000, with delays and deadlines', async () => {
    const plane = await warm()
    const [now, later] = [await calls(500, { deadlineMs: 3_600_000 }), await calls(500, { delayMs: 60_000 })]
    cancelAtEnd(plane, [...now, ...later])
    await expectWithin({ statements: 1, rings: 2 }, CREATE, () => create(plane, [...now, ...later]))
  })

  test('a call, and to wait for its end', async () => {
    const plane = await warm()
    const made = await aCall()
    await expectWithin({ statements: 2, rings: 2 }, CREATE, async () => {
      const answer = create(plane, [made], 20_000)
      const { jobs } = await pollOnce(plane, { runner: RUNNER, waitMs: 20_000 })
      await pollOnce(plane, { runner: RUNNER, capacity: 0, reports: jobs.map((job) => succeeded(job, 1)) })
      expect(await answer).toHaveLength(3)
    })
  })

  test('a call as JSON', async () => {
    const plane = await warm()
    const headers = { authorization: `Bearer ${plane.options.key}` }
    await expectWithin({ statements: 2, rings: 2 }, 'POST /v1/call/', async () => {
      const answer = plane.request('/v1/call/greeter/hello', { method: 'POST', headers, body: '[1]' })
      const { jobs } = await pollOnce(plane, { runner: RUNNER, waitMs: 20_000 })
      await pollOnce(plane, { runner: RUNNER, capacity: 0, reports: jobs.map((job) => succeeded(job, 1)) })
      expect((await answer).status).toBe(200)
    })
  })
})

describe('to wait', () => {
  test('for 1,000 calls, of which none ends', async () => {
    const plane = await warm()
    const made = await calls(1_000)
    await create(plane, made)
    // A look at the beginning, and one at the end.
    await expectWithin({ statements: 2, rings: 1 }, WAIT, () =>
      post(plane, '/v1/calls/wait', { ids: idsOf(made), waitMs: 300 }),
    )
  })

  test('and to be rung for all the time', async () => {
    const plane = await warm()
    const made = await calls(1)
    await create(plane, made)
    const ids = idsOf(made)
    await expectWithin({ statements: 40, rings: 1 }, WAIT, () =>
      ringUntil(post(plane, '/v1/calls/wait', { ids, waitMs: 20_000 }), WAIT, () =>
        env.BELL.getByName(plane.name).ring(
          [],
          ids.map((id) => ({ id })),
        ),
      ),
    )
  })
})

describe('to poll', () => {
  const wait = (plane: WirePlane, waitMs = 300) => pollOnce(plane, { runner: RUNNER, waitMs })

  test('with reports, heartbeats and a claim', async () => {
    const plane = await warm()
    const jobs = await claimed(plane, 30)
    const more = await calls(10)
    await create(plane, more)
    cancelAtEnd(plane, more)
    const succeed = jobs.slice(0, 10).map((job) => succeeded(job, 1))
    const fail = jobs.slice(10, 20).map((job) => threw(job, new Error('no')))
    const heartbeats = jobs.slice(20).map(({ id, token }) => ({ id, token }))
    await expectWithin({ statements: 4, rings: 3 }, POLL, () =>
      pollOnce(plane, { runner: RUNNER, reports: [...succeed, ...fail], heartbeats, capacity: 10, waitMs: 1_000 }),
    )
  })

  test('and to wait for nothing', async () => {
    const plane = await warm()
    // A look and a socket at the beginning, and again at the end.
    await expectWithin({ statements: 2, rings: 2 }, POLL, () => wait(plane))
  })

  test('and to wait for nothing while all is quiet: what a connected runner costs', async () => {
    const plane = await warm()
    const bell = env.BELL.getByName(plane.name)
    await runInDurableObject(bell, (_, { storage }) => storage.put('armedUntilMs', Date.now() - 10))
    await evictDurableObject(bell)
    await wait(plane)
    const found = () => runInDurableObject(bell, (_, { storage }) => storage.get('nothing'))
    await expect.poll(found, { interval: 1 }).toBeDefined()
    await expectWithin({ statements: 0, rings: 2 }, POLL, () => wait(plane))
  })

  test('and to be rung for all the time, while others are quicker', async () => {
    const plane = await warm()
    await expectWithin({ statements: 11, rings: 11 }, POLL, () =>
      ringUntil(wait(plane, 20_000), POLL, () =>
        env.BELL.getByName(plane.name).ring([{ service: 'greeter', jobs: 1 }], []),
      ),
    )
  })

  test('for the first time, and no more', async () => {
    const plane = await warm()
    const runner = crypto.randomUUID()
    await expectWithin({ statements: 1, rings: 0 }, 'POST /v1/runners/register', () => register(plane, runner))
    await expectWithin({ statements: 1, rings: 0 }, 'POST /v1/runners/leave', () =>
      post(plane, '/v1/runners/leave', { runner }),
    )
  })
})

describe('to operate', () => {
  test('cancels, redrives and lists', async () => {
    const plane = await warm()
    const made = await calls(1_000)
    await create(plane, made)
    const ids = idsOf(made)
    await expectWithin({ statements: 1, rings: 1 }, 'POST /v1/calls/cancel', () =>
      post(plane, '/v1/calls/cancel', { ids }),
    )
    await expectWithin({ statements: 1, rings: 1 }, 'POST /v1/calls/redrive', () =>
      post(plane, '/v1/calls/redrive', { ids: ids.slice(0, 500) }),
    )
    const filter = { state: ['cancelled'] }
    const { body } = await post(plane, '/v1/calls/redrive', { filter })
    const { next: cursor } = body as { next: string } // its answer
    await expectWithin({ statements: 2, rings: 1 }, 'POST /v1/calls/redrive', () =>
      post(plane, '/v1/calls/redrive', { filter, cursor }),
    )
    await expectWithin({ statements: 1, rings: 0 }, 'GET /v1/calls', () => plane.get('/v1/calls?limit=200'))
    const [id] = ids
    await expectWithin({ statements: 2, rings: 0 }, 'GET /v1/calls/', () => plane.get(`/v1/calls/${id}`))
    await expectWithin({ statements: 3, rings: 1 }, 'GET /v1/calls/', () => plane.get(`/v1/calls/${id}?wait=5000`))
  })

  test('keys are made, listed and revoked', async () => {
    const plane = await warm()
    const grants = [{ scope: 'call' }]
    await expectWithin({ statements: 2, rings: 0 }, KEYS, () => post(plane, '/v1/keys', { grants }))
    const { id } = (await post(plane, '/v1/keys', { grants })).body as { id: string } // its answer
    await expectWithin({ statements: 1, rings: 0 }, 'GET /v1/keys', () => plane.get('/v1/keys'))
    await expectWithin({ statements: 1, rings: 0 }, `${KEYS}/${id}/revoke`, () =>
      post(plane, `/v1/keys/${id}/revoke`, {}),
    )
    await expectWithin({ statements: 1, rings: 0 }, 'GET /ready', () => plane.get('/ready'))
  })
})

describe('the cron trigger', () => {
  test('where nothing is overdue', async () => {
    await warm()
    await expectWithin({ statements: 1, rings: 3 }, 'cron', cron)
  })

  test('where 1,000 calls have expired', async () => {
    const plane = await warm()
    const made = await calls(1_000, { deadlineMs: 3_600_000 })
    await create(plane, made)
    await sql(`update callplane.jobs set deadline_at = now() - interval '1 second' where namespace = $1`, [plane.name])
    // Not the alarm, which would be quicker.
    await runInDurableObject(env.BELL.getByName(':alarm'), (_, { storage }) => storage.deleteAlarm())
    await expectWithin({ statements: 7, rings: 8 }, 'cron', cron)
    expect(await plane.get('/v1/calls?state=pending')).toEqual({ calls: [] })
  })
})
