// Clients that come back to a peer which does not remember what they missed: the log does.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Row, SqlParam } from '../../src/db/sql.ts'
import { cancelJobs } from '../../src/jobs/cancel.ts'
import { claimJobs } from '../../src/jobs/claim.ts'
import { completeJobs } from '../../src/jobs/complete.ts'
import { enqueueJobs } from '../../src/jobs/enqueue.ts'
import { forgetEvents, forgetJobs } from '../../src/jobs/forget.ts'
import { registerRunner } from '../../src/jobs/register.ts'
import { appendTime, forgetTimes } from '../../src/live/commands.ts'
import { max } from '../../src/protocol/aggregation.ts'
import { from } from '../../src/protocol/from.ts'
import type { LiveResult } from '../../src/protocol/live.ts'
import type { Plan } from '../../src/protocol/plan.ts'
import { embeddedSql } from '../support/plane.ts'
import { aCall } from '../support/wire.ts'
import { WireClient } from './client.ts'
import { newStage, type Stage } from './stage.ts'

const isLong = process.env['CALLPLANE_LONG'] === '1'
/** Beside hundreds of namespaces that have not been let go yet, a turn can take its time. */
const PATIENCE = { interval: 2, timeout: 20_000 }
const FUNCTIONS = ['hello', 'bye', 'again'] as const
const owners = { op: 'from', relation: 'owners' } as const
const seen = { op: 'from', relation: 'seen' } as const

const PLANS: Record<string, Plan> = {
  states: from('jobs').groupBy('function', 'state').count().plan,
  latest: from('jobs')
    .groupBy('function')
    .aggregate({ last: max('created_at') }).plan,
  open: from('jobs').where({ state: 'pending' }).select('id', 'function').plan,
  first: from('jobs').select('id', 'state').orderBy('id').limit(3).plan,
  kinds: from('jobs').select('function', 'state').distinct().plan,
  lately: from('jobs').window('created_at', 200).select('id').plan,
  owned: {
    op: 'join',
    kind: 'left',
    left: from('jobs').select('id', 'function').plan,
    right: owners,
    on: [['function', 'function']],
  },
  owners,
  seen,
}
const NAMES = Object.keys(PLANS)
const SETUP = [
  [
    'CreateAttribute',
    {
      name: 'owners',
      columns: [
        { name: 'function', type: 'text' },
        { name: 'owner', type: 'text' },
      ],
      semantics: 'last_write_wins',
      key: ['function'],
    },
  ],
  ['CreateAttribute', { name: 'seen', columns: [{ name: 'n', type: 'int' }], semantics: 'distinct' }],
] as const

const anyFunction = fc.constantFrom(...FUNCTIONS)
const anyStep = fc.oneof(
  fc.record({ do: fc.constant('enqueue' as const), function: anyFunction, count: fc.integer({ min: 1, max: 3 }) }),
  fc.record({ do: fc.constant('finish' as const), function: anyFunction }),
  fc.record({ do: fc.constant('cancel' as const), index: fc.nat(20) }),
  fc.record({ do: fc.constant('own' as const), function: anyFunction, owner: fc.constantFrom('ada', 'bob') }),
  fc.record({ do: fc.constant('see' as const), n: fc.nat(3), diff: fc.constantFrom(1, -1) }),
  { weight: 3, arbitrary: fc.record({ do: fc.constant('time' as const) }) },
  fc.record({ do: fc.constant('forget' as const) }),
)
type Step = typeof anyStep extends fc.Arbitrary<infer T> ? T : never

class History {
  readonly #ids: string[] = []
  readonly #stage: Stage
  readonly #client: WireClient
  readonly namespace: string

  constructor(stage: Stage, client: WireClient, namespace: string) {
    this.#stage = stage
    this.#client = client
    this.namespace = namespace
  }

  async take(step: Step): Promise<void> {
    const sql = await embeddedSql()
    const { namespace } = this
    const reach = { namespace, services: null }
    if (step.do === 'enqueue') {
      const calls = await Promise.all(Array.from({ length: step.count }, () => aCall({ function: step.function })))
      await enqueueJobs(sql, namespace, calls, { retentionMs: 86_400_000 })
      this.#ids.push(...calls.map(({ id }) => id))
    } else if (step.do === 'finish') {
      const runner = { namespace, id: crypto.randomUUID() }
      const services = [{ name: 'greeter', functions: [step.function], capacity: 2 }]
      const { jobs } = await claimJobs(sql, runner, { claimId: crypto.randomUUID(), services, maxBytes: 1e6 })
      await completeJobs(
        sql,
        namespace,
        jobs.slice(1).map(({ id, token }) => ({ id, token, result: new Uint8Array([1]) })),
      )
    } else if (step.do === 'cancel') {
      const id = this.#ids[step.index]
      if (id !== undefined) await cancelJobs(sql, reach, [id], 'no longer wanted')
    } else if (step.do === 'forget') await forgetJobs(sql, { retentionMs: 0, limit: 2 })
    else if (step.do === 'time') await appendTime(sql, namespace, crypto.randomUUID(), 'Time')
    else {
      const change =
        step.do === 'own'
          ? { relation: 'owners', row: { function: step.function, owner: step.owner } }
          : { relation: 'seen', row: { n: step.n }, diff: step.diff }
      await this.#client.ask('Transact', { changes: [change] })
    }
    this.#stage.peer.poke()
    await stamped(namespace)
  }
}

async function stamped(namespace: string): Promise<number> {
  const sql = await embeddedSql()
  const unstamped = () => sql('select 1 from callplane.events where namespace = $1 and tick is null', [namespace])
  await expect.poll(unstamped, PATIENCE).toEqual([])
  const [head] = await sql<{ tick: number }>('select tick from callplane.heads where namespace = $1', [namespace])
  return head?.tick ?? 0
}

async function told(client: WireClient, tick: number): Promise<void> {
  const hasCome = async (): Promise<boolean> => {
    const answer = await client.ask('Status')
    return 'Status' in answer && answer.Status[1].tick >= tick
  }
  await expect.poll(hasCome, PATIENCE).toBe(true)
}

const tagsOf = (frames: readonly LiveResult[]) => frames.map((frame) => Object.keys(frame)[0])
const tickOf = (frame: LiveResult) =>
  'Snapshot' in frame ? frame.Snapshot[2] : 'QueryDiff' in frame ? frame.QueryDiff[2] : 0
/** All but word that nothing has changed, which comes when it comes. */
const rowsOf = (client: WireClient, name: string) => client.of(name).filter((frame) => !('Progress' in frame))
const diffsOf = (client: WireClient, name: string, from: number) =>
  client.of(name).filter((frame) => 'QueryDiff' in frame && tickOf(frame) > from)

/** What the client held at a tick, as if it had been cut there. */
function knownAt(client: WireClient, name: string, tick: number) {
  const then = new WireClient()
  for (const frame of client.of(name)) if (tickOf(frame) <= tick) then.get(JSON.stringify(frame))
  return then.results.get(name)
}

test('whoever comes back to another peer, from whichever tick, is told what others were told since, and nothing else', async () => {
  const [here, there] = [await newStage(), await newStage()]
  const space = `live_resume_${process.pid}`
  let runs = 0
  await fc.assert(
    fc.asyncProperty(
      fc.array(anyStep, { minLength: 1, maxLength: 12 }),
      fc.array(anyStep, { maxLength: 12 }),
      fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 4 }),
      async (before, during, places) => {
        const namespace = `${space}_${runs++}`
        const stayed = await here.connect({ key: namespace })
        await stayed.askAll(SETUP)
        const history = new History(here, stayed, namespace)
        await stayed.askAll(Object.entries(PLANS).map(([name, plan]) => ['Register', { name, plan }] as const))
        for (const step of before) await history.take(step)
        await stayed.askAll(NAMES.map((name) => ['Interest', { name }] as const))
        const first = Math.max(...NAMES.map((name) => tickOf(stayed.of(name)[0] as LiveResult))) // it was answered
        for (const step of during) await history.take(step)
        await told(stayed, await stamped(namespace))

        const last = await stamped(namespace)
        const back = await Promise.all(
          places.map(async (place) => {
            const tick = Math.round(first + place * (last - first))
            const client = await there.connect({ key: namespace })
            for (const name of NAMES) {
              const known = knownAt(stayed, name, tick)
              if (known !== undefined) client.results.set(name, { ...known, tick })
            }
            return { client, tick }
          }),
        )
        // While others write.
        await Promise.all([
          history.take({ do: 'enqueue', function: 'hello', count: 1 }),
          ...back.map(({ client, tick }) =>
            client.askAll(NAMES.map((name) => ['Interest', { name, from: tick }] as const)),
          ),
          history.take({ do: 'finish', function: 'hello' }),
        ])
        const fresh = await there.connect({ key: namespace })
        await fresh.askAll(NAMES.map((name) => ['Interest', { name }] as const))
        // While a window holds rows the log goes on by itself: all are compared there.
        const end = await stamped(namespace)
        for (const client of [stayed, fresh, ...back.map((one) => one.client)]) await told(client, end)
        for (const name of NAMES) {
          const all = diffsOf(stayed, name, 0).filter((frame) => tickOf(frame) <= end)
          for (const { client, tick } of back) {
            const heard = rowsOf(client, name).filter((frame) => tickOf(frame) <= end)
            expect(heard, `${name} from ${tick}`).toEqual(all.filter((frame) => tickOf(frame) > tick))
          }
          expect(knownAt(fresh, name, end)?.rows, name).toEqual(knownAt(stayed, name, end)?.rows)
        }
        for (const client of [stayed, fresh, ...back.map((one) => one.client)]) client.close()
      },
    ),
    { numRuns: isLong ? 300 : 5 },
  )
})

/** A client that was at one peer until a tick, and what happens before it comes back to another. */
async function away(plan: Plan): Promise<{
  namespace: string
  tick: number
  history: History
  /** Comes back, and answers what it is told. */
  comeBack: (tick?: number) => Promise<(string | undefined)[]>
  /** The one that stayed where it was. */
  client: WireClient
  there: Stage
}> {
  const [here, there] = [await newStage(), await newStage()]
  const { namespace } = here
  const client = await here.connect()
  await client.ask('Register', { name: 'it', plan })
  await client.ask('Interest', { name: 'it' })
  const history = new History(here, client, namespace)
  await history.take({ do: 'enqueue', function: 'hello', count: 2 })
  const tick = await stamped(namespace)
  await told(client, tick)
  const comeBack = async (since = tick): Promise<(string | undefined)[]> => {
    const back = await there.connect({ key: namespace })
    await told(client, await stamped(namespace))
    const known = knownAt(client, 'it', since)
    if (known !== undefined) back.results.set('it', known)
    await back.ask('Interest', { name: 'it', from: since })
    const fresh = await there.connect({ key: namespace })
    await fresh.ask('Interest', { name: 'it' })
    await told(back, await stamped(namespace))
    expect(back.rows('it')).toEqual(fresh.rows('it'))
    return tagsOf(rowsOf(back, 'it'))
  }
  return { namespace, tick, history, comeBack, client, there }
}

const states = PLANS['states'] as Plan
const anew = ['Reset', 'Snapshot']

test('a query that was unregistered meanwhile begins anew', async () => {
  const { history, namespace, there, comeBack } = await away(states)
  const other = await there.connect({ key: namespace })
  await other.ask('Unregister', { name: 'it' })
  await other.ask('Register', { name: 'it', plan: states })
  await history.take({ do: 'enqueue', function: 'hello', count: 1 })
  expect(await comeBack()).toEqual(anew)
})

test('runners that came or left meanwhile begin anew those that read them, and nobody else', async () => {
  const sql = await embeddedSql()
  const runners = await away(from('runners').select('host').plan)
  const jobs = await away(states)
  for (const { namespace } of [runners, jobs]) {
    const services = [{ name: 'greeter', slots: 1, functions: [{ name: 'hello' }] }]
    await registerRunner(sql, namespace, { runner: crypto.randomUUID(), host: 'one', services })
  }
  expect(await runners.comeBack()).toEqual(anew)
  await jobs.history.take({ do: 'enqueue', function: 'hello', count: 1 })
  expect(await jobs.comeBack()).toEqual(['QueryDiff'])
  expect(await (await away(from('runners').select('host').plan)).comeBack()).toEqual([])
})

test('what the log has forgotten begins anew who had not come so far', async () => {
  const sql = await embeddedSql()
  const { history, comeBack, namespace } = await away(states)
  while ((await forgetJobs(sql, { retentionMs: 0, limit: 1_000 })) > 0);
  await history.take({ do: 'cancel', index: 0 })
  const cancelled = await stamped(namespace)
  await history.take({ do: 'forget' })
  const forgotten = await stamped(namespace)
  await history.take({ do: 'enqueue', function: 'bye', count: 1 })
  while ((await forgetEvents(sql, { keptMs: 0, limit: 1_000 })) > 0);
  expect(await comeBack(forgotten)).toEqual(['QueryDiff'])
  expect(await comeBack(cancelled)).toEqual(anew)
  expect(await comeBack()).toEqual(anew)
})

test('a window begins anew where the time that it stood at is no longer known', async () => {
  const { history, comeBack, namespace } = await away(PLANS['lately'] as Plan)
  await history.take({ do: 'time' })
  expect((await comeBack()).includes('Snapshot')).toBe(false)
  await forgetTimes(await embeddedSql(), namespace, { keptMs: 0 })
  const again = await away(PLANS['lately'] as Plan)
  await forgetTimes(await embeddedSql(), again.namespace, { keptMs: 0 })
  await again.history.take({ do: 'enqueue', function: 'bye', count: 1 })
  expect(await again.comeBack()).toEqual(anew)
})

test('who missed more than a peer reads for one client begins anew, and so does one that is ahead of the log', async () => {
  const ahead = await away(states)
  expect(await ahead.comeBack(ahead.tick + 1_000)).toEqual(anew)
  const { history, comeBack, tick } = await away(states)
  for (let n = 0; n < 11; n++) await history.take({ do: 'enqueue', function: 'again', count: 1_000 })
  expect(await comeBack()).toEqual(anew)
  expect(await comeBack(tick + 1)).toEqual(Array.from({ length: 10 }, () => 'QueryDiff'))
})

test('those who come back together have the log read once, for the one that was away for longest', async () => {
  const real = await embeddedSql()
  let hydrations = 0
  const asked = Promise.withResolvers<void>()
  const there = await newStage({
    sql: async (text, params) => {
      // The second is that of the first who comes back.
      if (text.includes('from callplane.jobs') && ++hydrations === 2) await asked.promise
      return real(text, params)
    },
  })
  const { history, namespace, tick, client: stayed } = await away(states)
  for (let n = 0; n < 10; n++) await history.take({ do: 'enqueue', function: 'again', count: 1 })
  await told(stayed, tick + 10)
  const clients = await Promise.all(
    Array.from({ length: 50 }, async (_, n) => {
      const client = await there.connect({ key: namespace })
      const since = tick + 9 - (n % 10)
      const known = knownAt(stayed, 'it', since)
      if (known !== undefined) client.results.set('it', known)
      return { client, since }
    }),
  )
  const answers = clients.map(({ client, since }) => client.ask('Interest', { name: 'it', from: since }))
  // By then each waits for the first.
  for (let turns = 0; turns < 100; turns++) await new Promise((resolve) => setImmediate(resolve))
  asked.resolve()
  await Promise.all(answers)
  expect(hydrations).toBe(3)
  for (const { client, since } of clients) {
    expect(tagsOf(client.received).filter((tag) => tag === 'QueryDiff')).toHaveLength(tick + 10 - since)
    expect(tagsOf(client.received)).not.toContain('Snapshot')
  }
})

test('what happens while the log is read is told too, once', async () => {
  const real = await embeddedSql()
  const { history, namespace, tick, client: stayed } = await away(states)
  const write = () => history.take({ do: 'enqueue', function: 'bye', count: 2 })
  await write()
  let hydrations = 0
  const there = await newStage({
    sql: async <R extends Row>(text: string, params?: readonly SqlParam[]) => {
      const isSecond = text.includes('from callplane.jobs') && ++hydrations === 2
      if (isSecond) await write()
      const rows = await real<R>(text, params)
      if (isSecond) await write()
      return rows
    },
  })
  const back = await there.connect({ key: namespace })
  const known = knownAt(stayed, 'it', tick)
  if (known !== undefined) back.results.set('it', known)
  await back.ask('Interest', { name: 'it', from: tick })
  for (const client of [back, stayed]) await told(client, tick + 3)
  expect(rowsOf(back, 'it')).toEqual(diffsOf(stayed, 'it', tick))
  expect(rowsOf(back, 'it')).toHaveLength(3)
  expect(hydrations).toBe(2)
})

test('a client that comes back and does not read what it missed is owed the sum of it', async () => {
  const { history, namespace, tick, there } = await away(states)
  for (let n = 0; n < 3; n++) await history.take({ do: 'enqueue', function: 'again', count: 1 })
  const unread = { bytes: 1_000_000 }
  const back = await there.connect({ key: namespace, unread })
  back.results.set('it', { rows: new Map(), tick })
  await back.ask('Interest', { name: 'it', from: tick })
  expect(rowsOf(back, 'it')).toEqual([])
  unread.bytes = 0
  back.drained()
  await expect.poll(() => rowsOf(back, 'it')).toHaveLength(1)
  expect(rowsOf(back, 'it')).toMatchObject([{ QueryDiff: ['it', [[{ state: 'pending', count: 3 }, 1]], tick + 3] }])
})

test('who names a tick from before its relation was made is told all that came into it', async () => {
  const [here, there] = [await newStage(), await newStage()]
  const { namespace } = here
  const client = await here.connect()
  await client.askAll(SETUP)
  await client.ask('Register', { name: 'it', plan: owners })
  const row = { function: 'hello', owner: 'ada' }
  await client.ask('Transact', { changes: [{ relation: 'owners', row }] })
  const back = await there.connect({ key: namespace })
  back.results.set('it', { rows: new Map(), tick: 0 })
  expect(await back.ask('Interest', { name: 'it', from: 0 })).toHaveProperty('Ok')
  expect(back.rows('it')).toEqual([row])
  expect(tagsOf(rowsOf(back, 'it'))).toEqual(['QueryDiff'])
})

test('what a window held at the tick of who comes back is not told again', async () => {
  const { history, comeBack, namespace } = await away(from('jobs').window('created_at', 3_600_000).select('id').plan)
  await history.take({ do: 'time' })
  const since = await stamped(namespace)
  await history.take({ do: 'enqueue', function: 'bye', count: 1 })
  await history.take({ do: 'time' })
  expect(new Set(await comeBack(since))).toEqual(new Set(['QueryDiff']))
})
