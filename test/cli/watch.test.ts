// `callplane watch`: what it draws and prints, how it ends, and what it says of itself.
import { EventEmitter, once } from 'node:events'
import { PassThrough } from 'node:stream'
import { beforeAll, expect, test, vi } from 'vitest'
import { linesOf, screen } from '../../src/cli/live-table.ts'
import { BUILT_IN, drawOn, follow, printOn, watch } from '../../src/cli/watch.ts'
import { BUILT_IN_QUERIES } from '../../src/protocol/built-in-queries.ts'
import { a1, b1, setupLive } from '../sdk/fake-peer.ts'
import { settle } from '../sdk/fake-plane.ts'

// What is loaded with the first use takes real time.
beforeAll(() => import('../../src/sdk/live-client.ts'))

const WIDE = { columns: 100, rows: 24 }
const result = (rows: object[], more: object = {}) => ({ name: 'queues', tick: 7, isOrdered: false, rows, ...more })

test('a table has its columns aligned, and values as people read them', () => {
  const rows = [
    {
      service: 'mailer',
      depth: 1_200,
      oldest_at: 1_795_000_000_000,
      p99_wait_ms: 185_000,
      failure_rate: 0.125,
      mean: 1.5,
    },
    { service: 'a', depth: 3, oldest_at: null, p99_wait_ms: 78, failure_rate: 0, mean: 2 },
  ]
  expect(linesOf(result(rows), WIDE)).toEqual([
    'queues   tick 7   2 rows',
    '',
    'SERVICE  DEPTH  OLDEST AT            P99 WAIT MS  FAILURE RATE   MEAN',
    'a            3  -                          78 ms         0.0 %      2',
    'mailer    1200  2026-11-18 11:06:40      3 m 5 s        12.5 %  1.500',
    '',
    'ctrl-c ends',
  ])
})

test('rows are in the order of their columns, unless they have one of their own; nulls last', () => {
  const rows = [{ n: 10, of: 'x' }, { n: 9, of: 'y' }, { n: null, of: 'z' }, { n: 9, of: 'a' }] // prettier-ignore
  const order = (isOrdered: boolean) =>
    linesOf(result(rows, { isOrdered }), WIDE)
      .slice(3, 7)
      .map((line) => line.trim())
  expect(order(false)).toEqual(['9  a', '9  y', '10  x', '-  z'])
  expect(order(true)).toEqual(['10  x', '9  y', '-  z', '9  a'])
})

test('nothing is larger than the terminal, and what is left out is counted', () => {
  const rows = Array.from({ length: 50 }, (_, id) => ({ id, text: 'x'.repeat(90) }))
  const lines = linesOf(result(rows), { columns: 20, rows: 10 })
  expect(lines).toEqual([
    'queues   tick 7   5…',
    '',
    'ID  TEXT',
    ' 0  xxxxxxxxxxxxxxx…',
    ' 1  xxxxxxxxxxxxxxx…',
    ' 2  xxxxxxxxxxxxxxx…',
    '… 47 more rows',
    '',
    'ctrl-c ends',
  ])
  for (const height of [1, 2, 3, 5, 6, 7, 55, 56]) {
    expect(linesOf(result(rows), { columns: 5, rows: height }).length).toBeLessThanOrEqual(Math.max(1, height - 1))
  }
  expect(linesOf(result(rows), { columns: 100, rows: 56 })).toHaveLength(55)
})

test('a result without rows says so', () => {
  expect(linesOf(result([]), WIDE)).toEqual(['queues   tick 7   0 rows', '', 'nothing, so far', '', 'ctrl-c ends'])
})

test('texts of others are shown, not obeyed, also where they name a column', () => {
  const lines = linesOf(result([{ 'a\u001b[2J': 'b\n\u001b[2J', at_at: 1e300 }]), WIDE).join('\n')
  expect(lines).not.toContain('\u001b')
  expect(lines).toContain('b ⏎ \\u001b[2J')
})

test('each drawing begins where the one before did', () => {
  const written: string[] = []
  const draw = screen({ write: (text) => written.push(text) })
  draw(['a', 'b', 'c'])
  draw(['d'])
  draw(['e'])
  expect(written).toEqual(['\r\u001b[Ja\nb\nc\n', '\u001b[3A\r\u001b[Jd\n', '\u001b[1A\r\u001b[Je\n'])
})

test('a table is drawn anew for each change, and where the terminal changes its size', async () => {
  const { peer, live } = setupLive()
  peer.query('runners')
  const written: string[] = []
  const out = Object.assign(new EventEmitter(), {
    columns: 80,
    rows: 24,
    write: (text: string) => written.push(text) > 0,
  })
  const ended = Promise.withResolvers<void>()
  const shown = follow(live, 'runners', { show: drawOn(out), ended: ended.promise })
  await settle()
  peer.change('runners', [{ id: 'r1', host: 'h', sdk: null, joined_at: 0 }, 1])
  await settle()
  Object.assign(out, { columns: 9 }).emit('resize')
  ended.resolve()
  await shown
  // Each peer knows the built-in ones.
  expect(peer.asked('Register')).toEqual([])
  expect(written.map((text) => /\[J(.*)\n/.exec(text)?.[1])).toEqual([
    'runners   tick 10   0 rows',
    'runners   tick 11   1 row',
    'runners …',
  ])
  expect(written[1]).toContain('\nr1  h     -    1970-01-01 00:00:00\n')
  await settle()
  expect(peer.asked('Uninterest')).toEqual([{ name: 'runners' }])
})

test('elsewhere each change is a JSON object on a line, and those that come while nobody reads are one', async () => {
  const { peer, live } = setupLive()
  peer.change('mine', [a1, 1])
  const out = new PassThrough({ highWaterMark: 1 })
  const ended = Promise.withResolvers<void>()
  const shown = follow(live, 'mine', { show: printOn(out), ended: ended.promise })
  await settle()
  for (let change = 0; change < 100; change++) {
    peer.change('mine', [a1, -1], [b1, 1])
    peer.change('mine', [a1, 1], [b1, -1])
  }
  peer.change('mine', [b1, 1])
  await settle()
  expect(peer.asked('Register')).toEqual([])
  const lines = async () => (await once(out, 'data')).map((chunk) => JSON.parse(String(chunk)) as unknown)
  expect(await lines()).toEqual([{ query: 'mine', tick: 11, diffs: [[a1, 1]] }])
  expect(await lines()).toEqual([{ query: 'mine', tick: 212, diffs: [[b1, 1]] }])
  ended.resolve()
  await shown
})

test('a built-in query has the order of its plan', async () => {
  const { peer, live } = setupLive()
  const ended = Promise.withResolvers<void>()
  peer.change('slowest', [{ id: 'a', started_at: 2 }, 1], [{ id: 'b', started_at: 1 }, 1])
  const ids: unknown[] = []
  const show = (_: string, { rows }: { rows: readonly object[] }, isOrdered: boolean) => {
    ids.push(
      rows.map((row) => Object.values(row)[0]),
      isOrdered,
    )
    ended.resolve()
  }
  await follow(live, 'slowest', { show, ended: ended.promise })
  expect(ids).toEqual([['b', 'a'], true])
})

test('a query that nobody registered is an error', async () => {
  const { live } = setupLive()
  const shown = follow(live, 'none', { show: () => {}, ended: new Promise(() => {}) })
  await expect(shown).rejects.toMatchObject({ code: 'not_found' })
})

test('without a name it lists the built-in queries, and so does its help', async () => {
  const log = vi.spyOn(console, 'log').mockReturnValue()
  await watch.run([])
  const listed = String(log.mock.calls[0]?.[0])
  log.mockRestore()
  expect(Object.keys(BUILT_IN)).toEqual([...BUILT_IN_QUERIES.keys()])
  for (const [name, summary] of Object.entries(BUILT_IN)) {
    for (const text of [listed, watch.help]) expect(text).toContain(`  ${name.padEnd(8)} ${summary}`)
  }
  await expect(watch.run(['a', 'b'])).rejects.toThrow('"b" is one word too many')
})
