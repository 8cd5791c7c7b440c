// Live queries over a peer that the test plays: what a loop sees, how it ends, and that no cut is seen.
import fc from 'fast-check'
import { beforeAll, expect, test } from 'vitest'
import type { WireRow } from '../../src/protocol/live.ts'
import type { LiveChange } from '../../src/sdk/index.ts'
import { a1, a2, b1, FAILING, FakePeer, setupLive as setup, watching } from './fake-peer.ts'
import { fakeTime, pass, settle, setup as setupPlane } from './fake-plane.ts'

// What is loaded with the first use takes real time, which the tests hold still.
beforeAll(() => import('../../src/sdk/live-client.ts'))

test('the key is the first frame, and a plan is registered under its name', async () => {
  const { peer, live } = setup()
  const failing = await live.register('failing', FAILING)
  expect(peer.sockets.map(({ url }) => url)).toEqual(['ws://plane.test/v1/live'])
  expect(peer.requests.map(({ tag }) => tag)).toEqual(['Auth', 'Register'])
  expect(peer.plans.get('failing')).toEqual(FAILING.plan)
  expect(failing).toMatchObject({ name: 'failing', plan: FAILING.plan })
})

test('a loop gets the whole result, and then each change with the rows as they are', async () => {
  const { peer, loop } = await watching()
  const next = loop.next()
  peer.change('failing', [a1, -1], [a2, 1], [b1, 1])
  expect(await next).toEqual({
    done: false,
    value: {
      tick: peer.tick,
      rows: [a2, b1],
      diffs: [
        [a1, -1],
        [a2, 1],
        [b1, 1],
      ],
    },
  })
})

test('an empty result is told too, and a row is there as often as it is', async () => {
  const { peer, live } = setup()
  const loop = live.watch(await live.register('failing', FAILING))
  expect((await loop.next()).value).toEqual({ tick: 10, rows: [], diffs: [] })
  peer.change('failing', [a1, 2])
  expect((await loop.next()).value).toEqual({ tick: 11, rows: [a1, a1], diffs: [[a1, 2]] })
})

test('changes that come while nobody asks are one sum, and what comes and goes again is none', async () => {
  const { peer, loop } = await watching()
  for (let count = 1; count < 500; count++) {
    peer.change('failing', [{ service: 'a', count }, -1], [{ service: 'a', count: count + 1 }, 1])
    peer.change('failing', [b1, 1])
    peer.change('failing', [b1, -1])
  }
  await settle()
  const last = { service: 'a', count: 500 }
  expect((await loop.next()).value).toEqual({
    tick: peer.tick,
    rows: [last],
    diffs: [
      [a1, -1],
      [last, 1],
    ],
  })
})

test('two loops of one query share one interest, and the second begins with all that there is', async () => {
  const { peer, live, loop } = await watching()
  const second = live.watch('failing')
  expect((await second.next()).value).toMatchObject({ rows: [a1], diffs: [[a1, 1]] })
  peer.change('failing', [b1, 1])
  for (const one of [loop, second]) expect((await one.next()).value).toMatchObject({ rows: [a1, b1], diffs: [[b1, 1]] })
  expect(peer.asked('Interest')).toHaveLength(1)
  await loop.return()
  await settle()
  expect(peer.asked('Uninterest')).toEqual([])
  await second.return()
  await settle()
  expect(peer.asked('Uninterest')).toEqual([{ name: 'failing' }])
})

test('a reset gives the new rows, with what is other than before', async () => {
  const { peer, live, failing, loop } = await watching()
  const reasons: string[] = []
  const other = live.watch(failing, { onReset: (reason) => reasons.push(reason) })
  await other.next()
  peer.query('failing').rows = new Map([['b', { row: b1, count: 1 }]])
  peer.tick++
  peer.reset('failing', 'you are slow')
  expect((await loop.next()).value).toEqual({
    tick: peer.tick,
    rows: [b1],
    diffs: [
      [b1, 1],
      [a1, -1],
    ],
  })
  expect(reasons).toEqual(['you are slow'])
})

test('what was told already changes nothing, nor what comes between a reset and its snapshot', async () => {
  const { peer, loop } = await watching()
  const next = loop.next()
  peer.tell('failing', { QueryDiff: ['failing', [[b1, 1]], peer.tick] })
  peer.tell('failing', { QueryDiff: ['failing', [[b1, 1]], peer.tick - 1] })
  peer.tell('failing', { Reset: ['failing', 'for a test'] }, { QueryDiff: ['failing', [[b1, 1]], ++peer.tick] })
  peer.query('failing').rows.set('a2', { row: a2, count: 1 })
  peer.tell('failing', peer.snapshot('failing'))
  expect((await next).value).toEqual({ tick: peer.tick, rows: [a1, a2], diffs: [[a2, 1]] })
})

test('a query that ends under a loop says so when it is asked for again', async () => {
  fakeTime()
  const { peer, loop } = await watching()
  const next = loop.next()
  peer.drop('failing')
  const ended = expect(next).rejects.toMatchObject({ code: 'not_found' })
  await pass(5_000)
  await ended
  expect(await loop.next()).toEqual({ done: true, value: undefined })
})

test('after a cut a loop goes on from the tick that it has, and what it registered is told again', async () => {
  fakeTime()
  const { peer, loop } = await watching()
  peer.progress('failing')
  await settle()
  const { tick } = peer
  peer.open[0]?.cut()
  await settle()
  peer.change('failing', [b1, 1])
  await pass(1_000)
  expect(peer.sockets).toHaveLength(2)
  expect(peer.asked('Interest')).toEqual([{ name: 'failing' }, { name: 'failing', from: tick }])
  expect(peer.asked('Register')).toHaveLength(2)
  expect((await loop.next()).value).toEqual({ tick: peer.tick, rows: [a1, b1], diffs: [[b1, 1]] })
})

test('a query in shards is registered with them, also after a cut', async () => {
  fakeTime()
  const { peer, live } = setup()
  peer.change('failing', [a1, 1])
  const sharded = await live.register('failing', FAILING, { shards: 3 })
  const loop = live.watch(sharded)
  await loop.next()
  peer.open[0]?.cut()
  await pass(1_000)
  const registered = { name: 'failing', plan: FAILING.plan, shards: 3 }
  expect(peer.asked('Register')).toEqual([registered, registered])
})

test('whatever frames the connections break after, the rows are those of the peer and the sum of the changes', async () => {
  const row = fc.record({ service: fc.constantFrom('a', 'b', 'c'), count: fc.integer({ min: 0, max: 2 }) })
  const step = fc.oneof(
    { weight: 5, arbitrary: fc.record({ change: fc.array(row, { minLength: 1, maxLength: 3 }) }) },
    fc.constantFrom('cut', 'pull', 'forget', 'reset', 'progress', 'wait'),
  )
  const story = fc.record({
    cuts: fc.array(fc.nat({ max: 12 }), { maxLength: 8 }),
    steps: fc.array(step, { maxLength: 25 }),
  })
  fakeTime()
  await fc.assert(
    fc.asyncProperty(story, async ({ cuts, steps }) => {
      const peer = new FakePeer()
      const { plane } = setupPlane({ WebSocket: peer.WebSocket })
      peer.cuts.push(...cuts)
      const seen: LiveChange<WireRow>[] = []
      const registered: string[] = []
      void plane.live.register('failing', FAILING).then(({ name }) => registered.push(name))
      for (let patience = 0; patience < 120 && registered.length === 0; patience++) await pass(1_000)
      expect(registered).toEqual(['failing'])
      const loop = plane.live.watch('failing')
      const pull = () => loop.next().then(({ value }) => value !== undefined && seen.push(value))
      let pulled = pull()
      for (const one of steps) {
        if (typeof one === 'object') {
          const { rows } = peer.query('failing')
          // Each row is there or not: what is there goes.
          const changes = new Map(one.change.map((row) => [JSON.stringify(row), row]))
          peer.change('failing', ...[...changes].map(([key, row]) => [row, rows.has(key) ? -1 : 1] as const))
        } else if (one === 'cut') peer.open[0]?.cut()
        else if (one === 'pull') pulled = pulled.then(pull)
        else if (one === 'forget') peer.forget('failing')
        else if (one === 'reset') peer.reset('failing', 'for a test')
        else if (one === 'progress') peer.progress('failing')
        else await pass(300)
        await settle()
      }
      peer.cuts.length = 0
      peer.progress('failing')
      for (let patience = 0; patience < 60; patience++) await pass(1_000)
      const sum = new Map<string, number>()
      const add = (change: LiveChange<WireRow>) => {
        for (const [row, diff] of change.diffs) sum.set(JSON.stringify(row), (sum.get(JSON.stringify(row)) ?? 0) + diff)
        const counted = [...sum].flatMap(([key, count]) => Array.from({ length: count }, () => key))
        expect(change.rows.map((row) => JSON.stringify(row)).toSorted()).toEqual(counted.toSorted())
      }
      // Whatever is left comes in at most two more changes.
      pulled = pulled.then(pull)
      await settle()
      await loop.return()
      await pulled
      for (const change of seen) add(change)
      const there = [...sum].filter(([, count]) => count > 0).map(([key]) => key)
      expect(there.toSorted()).toEqual([...peer.query('failing').rows.keys()].toSorted())
      void plane.close()
    }),
    { numRuns: 60 },
  )
})
