// The behaviours of the declarative-dataflow server that this grew out of: what the last write does, and what time does.
//
// Left out: rows with two times, since the log gives one; what is taken off a time, since nothing is ever taken off a tick;
// and how values are written, which has tests of its own.
import { describe, expect, test } from 'vitest'
import { Listener, type Result } from '../../src/live/audience.ts'
import type { Command } from '../../src/live/commands.ts'
import { FutureChanges } from '../../src/live/future-changes.ts'
import type { Change } from '../../src/live/kernel/batch.ts'
import { Dataflow, sourcesOf } from '../../src/live/kernel/dataflow.ts'
import { readForEver } from '../../src/live/reader.ts'
import { Registry } from '../../src/live/registry.ts'
import { runningIn, Standing } from '../../src/live/standing.ts'
import { Ticks } from '../../src/live/ticks.ts'
import { from } from '../../src/protocol/from.ts'
import { parsePlan } from '../../src/protocol/parse-plan.ts'
import { embeddedSql } from '../support/plane.ts'
import { World } from './kernel/world.ts'
import { newStage } from './stage.ts'

const VALUE = { e: 'int', v: 'int' } as const

describe('where the last write wins', () => {
  /** A relation that takes one command a tick, and the query of all of its rows. */
  function setup() {
    const registry = new Registry()
    const columns = Object.entries(VALUE).map(([name, type]) => ({ name, type }))
    const made = { name: 'values', columns, semantics: 'last_write_wins', key: ['e'] } as const
    registry.apply({ CreateAttribute: { ...made, key: [...made.key] } }, 0)
    const flow = new Dataflow({ relations: registry.relations, maxRows: 1_000, nowMs: 0 })
    const { plan } = parsePlan(from('values', VALUE).plan, registry.relations)
    const query = flow.add(plan, new Map(sourcesOf(plan, registry.relations).map(({ text }) => [text, []])))
    /** What went, then what came. */
    const tick = (command: Command, atMs = 0): readonly Change[] => {
      const { changes, error } = registry.apply(command, atMs)
      expect(error).toBeNull()
      flow.apply(changes)
      return (flow.flush().changes.get(query) ?? []).toSorted(([, a], [, b]) => a - b)
    }
    const put = (v: number, { diff = 1, atMs = 0, at }: { diff?: number; atMs?: number; at?: number } = {}) =>
      tick({ Transact: { changes: [{ relation: 'values', row: { e: 1, v }, diff }], ...(at ? { at } : {}) } }, atMs)
    return { put, tick }
  }

  const replaced = (old: number, by: number) => [
    [[1, old], -1],
    [[1, by], 1],
  ]

  test('a newer value takes the place of the one before, whichever is greater', () => {
    const { put } = setup()
    expect(put(5)).toEqual([[[1, 5], 1]])
    expect(put(3)).toEqual(replaced(5, 3))
    expect(put(9)).toEqual(replaced(3, 9))
    expect(put(9)).toEqual([])
  })

  test('a row that goes clears its key, whatever value goes with it', () => {
    const { put } = setup()
    put(5)
    expect(put(5, { diff: -1 })).toEqual([[[1, 5], -1]])
    expect(put(5, { diff: -1 })).toEqual([])
    expect(put(6)).toEqual([[[1, 6], 1]])
    expect(put(0, { diff: -1 })).toEqual([[[1, 6], -1]])
  })

  test('a value that comes back takes the place of the one between, and each step says both', () => {
    const { put } = setup()
    expect([put(1), put(2), put(1)]).toEqual([[[[1, 1], 1]], replaced(1, 2), replaced(2, 1)])
  })

  test('a value for a later time comes when that has come, after one for an earlier time that was given later', () => {
    const { put, tick } = setup()
    expect(put(1, { atMs: 1_000 })).toEqual([[[1, 1], 1]])
    expect(put(3, { atMs: 1_000, at: 3_000 })).toEqual([])
    expect(put(2, { atMs: 1_500, at: 2_000 })).toEqual([])
    expect(tick({ Due: 1_999 }, 1_999)).toEqual([])
    expect(tick({ Due: 2_000 }, 2_000)).toEqual(replaced(1, 2))
    expect(tick({ Due: 2_999 }, 2_999)).toEqual([])
    expect(tick({ Due: 3_000 }, 3_000)).toEqual(replaced(2, 3))
    expect(tick({ Due: 9_000 }, 9_000)).toEqual([])
  })
})

test('time may be moved to where it is, and not back: it stays where it was', () => {
  const world = new World({ nowMs: 1_000 })
  const query = world.add(from('jobs').window('created_at', 100).select('id'))
  world.insert('jobs', { id: 'a', created_at: 950 })
  expect(world.tick(query)).toEqual([['a', 1]])
  world.flow.advance(1_000)
  expect(world.tick(query)).toEqual([])
  expect(() => world.flow.advance(999)).toThrow('cannot go back')
  world.insert('jobs', { id: 'b', created_at: 1_000 })
  expect(world.tick(query)).toEqual([['b', 1]])
  const registry = new Registry()
  for (const Time of [5, 5, 3]) registry.apply({ Time }, Time)
  expect(registry.nowMs).toBe(5)
})

test('the log decides how far time has come, not what clients have sent, and they follow it', async () => {
  const sql = await embeddedSql()
  let gate = Promise.withResolvers<void>()
  gate.resolve()
  const stage = await newStage({
    openLog: (namespace, events) =>
      readForEver(sql, namespace, { ...events, read: (entries) => gate.promise.then(() => events.read(entries)) }),
  })
  const [sender, watcher] = [await stage.connect(), await stage.connect()]
  await sender.askAll([
    ['CreateAttribute', { name: 'values', columns: [{ name: 'v', type: 'int' }] }],
    ['Register', { name: 'all', plan: from('values', { v: 'int' }).plan }],
  ])
  await watcher.ask('Interest', { name: 'all' })
  const tick = async () => {
    const answer = await watcher.ask('Status')
    return 'Status' in answer ? answer.Status[1].tick : null
  }
  const before = await tick()
  gate = Promise.withResolvers()
  const answers = sender.received.length
  const answered = sender.ask('Transact', { changes: [{ relation: 'values', row: { v: 1 } }] })
  const head = () =>
    sql<{ tick: number }>('select tick from callplane.heads where namespace = $1', [stage.namespace]).then(
      ([row]) => row?.tick,
    )
  await expect.poll(head).toBe((before ?? 0) + 1)
  expect(await tick()).toBe(before)
  expect(sender.received).toHaveLength(answers)
  expect(watcher.rows('all')).toEqual([])
  gate.resolve()
  expect(await answered).toHaveProperty('Ok')
  expect(await tick()).toBe(await head())
  expect(watcher.of('all').at(-1)).toEqual({ QueryDiff: ['all', [[{ v: 1 }, 1]], await head()] })
})

test('what changed is kept for who comes back up to a bound, and what is older is not told in part', () => {
  const world = new World({ own: { values: VALUE } })
  const { plan } = from('values', VALUE)
  const ticks = new Ticks()
  ticks.begin(1)
  const standing = new Standing('all', { plan, running: runningIn(world.flow, world.add({ plan })), ticks })
  const tick = (to: number, rows: number) => {
    ticks.move(to, [])
    standing.change(Array.from({ length: rows }, (_, v): Change => [[to, v], 1]))
  }
  tick(2, 4_000)
  tick(5, 6_000)
  expect(standing.since(1)?.map((one) => one.tick)).toEqual([2, 5])
  tick(6, 1)
  expect([0, 1, 7].map((since) => standing.since(since))).toEqual([null, null, null])
  expect([2, 4, 5, 6].map((since) => standing.since(since)?.map((one) => one.tick))).toEqual([[5, 6], [5, 6], [6], []])
})

test('at first nothing is due; what is due now comes at once, and what is due in 2 s not before', () => {
  const future = new FutureChanges<string>()
  const nowMs = 1_000_000
  expect([future.nextMs, future.take(nowMs)]).toEqual([null, []])
  future.add(nowMs, ['now'])
  expect(future.take(nowMs)).toEqual([['now']])
  future.add(nowMs + 2_000, ['later'])
  expect(future.take(nowMs + 1_999)).toEqual([])
  expect(future.nextMs).toBe(nowMs + 2_000)
  expect(future.take(nowMs + 2_000)).toEqual([['later']])
  expect([future.nextMs, future.take(Infinity)]).toEqual([null, []])
})

test('at a granularity of ten, changes come as one at the next multiple of ten, and those at a multiple with it', () => {
  const told: string[] = []
  const reach = { send: (frame: string) => void told.push(frame), unreadBytes: 0, isOver: false }
  const listener = new Listener(reach, { id: 1, granularity: 10, tick: 0 })
  const heard = (tick: number, ...changes: Change[]) => {
    const result: Result = { name: 'all', columns: new Map([['v', 'int']]), count: 100, rows: () => [], tick }
    if (changes.length > 0) listener.tell(result, changes, () => 'not summed')
    listener.catchUp(result)
    return told.splice(0).map((frame): unknown => JSON.parse(frame))
  }
  const v = (n: number, diff: number): Change => [[n], diff]
  expect(heard(1, v(1, 1), v(2, 1))).toEqual([])
  expect(heard(6, v(1, -1), v(3, 1))).toEqual([])
  expect(heard(9)).toEqual([])
  expect(heard(10, v(4, 1))).toEqual([{ QueryDiff: ['all', [2, 3, 4].map((n) => [{ v: n }, 1]), 10] }])
  expect(heard(11, v(5, 1))).toEqual([])
  // The log may go over the multiple itself.
  expect(heard(23)).toEqual([{ QueryDiff: ['all', [[{ v: 5 }, 1]], 23] }])
  expect(heard(29, v(6, 1))).toEqual([])
  expect(heard(30)).toEqual([{ QueryDiff: ['all', [[{ v: 6 }, 1]], 30] }])
})
