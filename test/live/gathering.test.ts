// Pieces that come at different paces, from holders that change: each tick once, in order, and never in part.
import { expect, onTestFinished, test, vi } from 'vitest'
import { CallplaneError } from '../../src/protocol/errors.ts'
import { from } from '../../src/protocol/from.ts'
import type { LiveResult, WireRow } from '../../src/protocol/live.ts'
import { RELATIONS, type Row } from '../../src/protocol/relations.ts'
import { Gathering } from '../../src/live/gathering.ts'
import type { Hear, PieceRequest } from '../../src/live/piece-feed.ts'
import { dividePlan } from '../../src/live/shard-plan.ts'
import { Ticks } from '../../src/live/ticks.ts'

const plan = from('jobs').groupBy('service').count().plan
const total = from('jobs').groupBy().count().plan

interface Asked extends Hear {
  holder: string
  request: PieceRequest
  isClosed: boolean
}

function setup({ shards = 2, plan: of = plan, maxRows = 100 } = {}) {
  const log = new Ticks()
  log.begin(100)
  const holders = Array.from({ length: shards }, (_, at) => `peer ${at}`)
  const asked: Asked[] = []
  const divided = dividePlan(of, { shards, relations: RELATIONS, isKept: () => false })
  const gathering: Gathering = new Gathering('q', divided, {
    peer: 'self',
    shards,
    maxRows,
    log,
    holders: () => holders,
    open(holder, request, hear) {
      const one: Asked = { holder, request, isClosed: false, ...hear }
      asked.push(one)
      return { close: () => void (one.isClosed = true) }
    },
  })
  const said: [tick: number, changes: [...Row, number][]][] = []
  let stops = 0
  gathering.tell({
    changed(changes) {
      if (changes.length > 0) said.push([gathering.ticks.now, changes.map(([row, diff]) => [...row, diff])])
    },
    stopped: () => stops++,
  })
  gathering.ensure()
  /** What the latest holder of a piece says. */
  const feed = (at: number) => {
    const [hear] = asked.filter(({ request }) => request.piece === at).slice(-1)
    if (hear === undefined) throw new Error('nobody was asked')
    const tell = (result: LiveResult) => hear.told(result)
    return {
      hear,
      snapshot: (rows: WireRow[], tick: number) => tell({ Snapshot: ['q', rows, tick] }),
      diff: (changes: [WireRow, number][], tick: number, after?: number) =>
        tell({ QueryDiff: after === undefined ? ['q', changes, tick] : ['q', changes, tick, after] }),
      progress: (tick: number) => tell({ Progress: ['q', tick] }),
    }
  }
  return { log, holders, asked, gathering, said, feed, stops: () => stops }
}

const row = (service: string, count: number) => ({ service, count })

/** Both pieces, at tick 100. */
function begun(options: Parameters<typeof setup>[0] = {}) {
  const stage = setup(options)
  stage.feed(0).snapshot([row('a', 1)], 100)
  stage.feed(1).snapshot([row('b', 1)], 100)
  return stage
}

test('it begins where all pieces have come, and not before this peer has come there too', async () => {
  const { log, gathering, feed, said } = setup()
  feed(0).snapshot([row('a', 1)], 103)
  feed(1).snapshot([row('b', 1)], 101)
  feed(1).diff(
    [
      [row('b', 1), -1],
      [row('b', 2), 1],
    ],
    102,
  )
  feed(1).progress(104)
  expect(gathering.isMoving).toBe(true)
  log.move(103, [])
  gathering.advance()
  await gathering.begun
  expect(gathering.ticks.now).toBe(103)
  expect(gathering.rows()).toEqual([
    [['a', 1], 1],
    [['b', 2], 1],
  ])
  expect([gathering.isMoving, said]).toEqual([false, []])
})

test('a tick is told once all pieces have told it, each once and in order', () => {
  const { log, gathering, feed, said } = begun()
  log.move(110, [])
  feed(0).diff([[row('a', 2), 1]], 101)
  feed(0).diff([[row('a', 3), 1]], 105)
  expect(said).toEqual([])
  feed(1).diff([[row('b', 2), 1]], 103)
  expect(said).toEqual([
    [101, [['a', 2, 1]]],
    [103, [['b', 2, 1]]],
  ])
  feed(1).progress(107)
  expect(said.slice(2)).toEqual([[105, [['a', 3, 1]]]])
  feed(0).progress(106)
  expect(gathering.ticks.now).toBe(106)
})

test('what changed of pieces in one tick is one change', () => {
  const { log, gathering, feed, said } = setup({ plan: total })
  log.move(110, [])
  const state = (n: number): WireRow => ({ '#0': String(n) })
  for (const at of [0, 1]) feed(at).snapshot([state(0)], 100)
  expect(gathering.rows()).toEqual([[[0], 1]])
  for (const at of [0, 1]) {
    feed(at).diff(
      [
        [state(0), -1],
        [state(at + 1), 1],
      ],
      101,
    )
  }
  expect(said).toEqual([
    [
      101,
      [
        [0, -1],
        [3, 1],
      ],
    ],
  ])
})

test('within a sum over several ticks no tick is told', () => {
  const { log, feed, said } = begun()
  log.move(110, [])
  feed(1).diff([[row('b', 2), 1]], 102)
  feed(1).diff([[row('b', 3), 1]], 104)
  feed(0).diff([[row('a', 2), 1]], 105, 101)
  expect(said).toEqual([])
  feed(1).progress(105)
  expect(said).toEqual([
    [
      105,
      [
        ['a', 2, 1],
        ['b', 2, 1],
        ['b', 3, 1],
      ],
    ],
  ])
})

test('a piece whose holder is lost is asked for at another, from where it is, and ticks wait', () => {
  const { log, holders, asked, gathering, feed, said } = begun()
  log.move(110, [])
  feed(0).diff([[row('a', 2), 1]], 101)
  holders[0] = 'peer 2'
  feed(0).hear.failed(new CallplaneError('closed', 'it is gone'))
  expect(asked.at(-1)).toMatchObject({ holder: 'peer 2', request: { name: 'q', piece: 0, from: 101, tick: 110 } })
  feed(1).progress(108)
  expect([said.length, gathering.ticks.now, gathering.isMoving]).toEqual([1, 101, true])
  // What it tells again is known.
  feed(0).diff([[row('a', 2), 1]], 101)
  feed(0).diff([[row('a', 3), 1]], 102)
  feed(0).progress(109)
  expect(said.slice(1)).toEqual([[102, [['a', 3, 1]]]])
  expect([gathering.ticks.now, gathering.isMoving]).toEqual([108, false])
})

test('a snapshot in the place of what was missed is told as what it changes', () => {
  const { log, holders, gathering, feed, said } = begun()
  log.move(110, [])
  holders[0] = 'peer 2'
  feed(0).hear.failed(new CallplaneError('closed', 'it is gone'))
  feed(1).diff([[row('b', 2), 1]], 101)
  feed(0).snapshot([row('a', 7), row('c', 1)], 103)
  feed(1).progress(103)
  expect(said).toEqual([
    [
      103,
      [
        ['a', 1, -1],
        ['a', 7, 1],
        ['b', 2, 1],
        ['c', 1, 1],
      ],
    ],
  ])
  expect(gathering.count).toBe(4)
})

test('one that takes over keeps the other until it has answered, and a snapshot of before changes nothing', () => {
  const { log, holders, asked, gathering, feed, said } = begun()
  log.move(110, [])
  const old = feed(0)
  holders[0] = 'peer 2'
  gathering.ensure()
  gathering.ensure()
  expect(asked).toHaveLength(3)
  old.diff([[row('a', 2), 1]], 104)
  expect(old.hear).toMatchObject({ isClosed: false })
  feed(1).progress(104)
  expect(gathering.ticks.now).toBe(104)
  feed(0).snapshot([row('a', 1)], 102)
  expect(asked.map(({ isClosed }) => isClosed)).toEqual([true, false, false])
  // The old one tells nothing more, and of the new one what is not known.
  old.diff([[row('x', 1), 1]], 105)
  feed(0).diff([[row('a', 2), 1]], 104)
  feed(0).diff([[row('a', 3), 1]], 106)
  feed(1).progress(106)
  expect(said).toEqual([
    [104, [['a', 2, 1]]],
    [106, [['a', 3, 1]]],
  ])
})

test('a sum that begins before what is known is asked for again', () => {
  const { log, holders, asked, gathering, feed, said } = begun()
  log.move(110, [])
  const old = feed(0)
  holders[0] = 'peer 2'
  gathering.ensure()
  old.diff([[row('a', 2), 1]], 104)
  feed(0).diff(
    [
      [row('a', 2), 1],
      [row('a', 3), 1],
    ],
    106,
    100,
  )
  expect(asked.at(-1)).toMatchObject({ holder: 'peer 2', request: { piece: 0, from: 104 } })
  expect(old.hear).toMatchObject({ isClosed: false })
  feed(0).diff([[row('a', 3), 1]], 106)
  feed(1).progress(106)
  expect(said).toEqual([
    [104, [['a', 2, 1]]],
    [106, [['a', 3, 1]]],
  ])
})

test('who could not answer is asked again, but not at once', () => {
  vi.useFakeTimers({ toFake: ['performance'] })
  onTestFinished(() => void vi.useRealTimers())
  const { asked, gathering, feed } = setup()
  feed(0).hear.failed(new CallplaneError('not_found', 'there is no query q'))
  gathering.ensure()
  expect(asked).toHaveLength(2)
  vi.advanceTimersByTime(1_001)
  gathering.ensure()
  expect(asked.map(({ holder }) => holder)).toEqual(['peer 0', 'peer 1', 'peer 0'])
})

test('where a piece is stopped, the query is', () => {
  const { asked, gathering, feed, stops } = begun()
  feed(0).hear.failed(new CallplaneError('query_stopped', 'it holds too much'))
  expect([gathering.stopped?.code, gathering.rows(), gathering.held, stops()]).toEqual(['query_stopped', [], 0, 1])
  expect(asked.every(({ isClosed, request }) => isClosed || request.piece === 0)).toBe(true)
})

test('pieces that are too much together stop the query', () => {
  const { gathering, log, feed, stops } = begun({ maxRows: 3 })
  log.move(110, [])
  feed(0).diff(
    [
      [row('c', 1), 1],
      [row('d', 1), 1],
    ],
    101,
  )
  feed(1).progress(101)
  expect([gathering.stopped?.message, stops()]).toEqual(['the query was stopped: it holds more than 3 rows', 1])
})

test('of a piece that is far ahead of the others, the ticks are summed', () => {
  const { log, feed, said } = begun()
  log.move(30_000, [])
  for (let tick = 101; tick <= 20_200; tick++)
    feed(0).diff(
      [
        [row('a', tick), 1],
        [row('a', tick - 1), tick === 101 ? 0 : -1],
      ],
      tick,
    )
  feed(1).diff([[row('b', 2), 1]], 150)
  expect(said).toEqual([])
  feed(1).progress(20_200)
  expect(said.at(-1)?.[0]).toBe(20_200)
  expect(said.length).toBeLessThan(10_001)
})
