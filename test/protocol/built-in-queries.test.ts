// The built-in queries: each is a plan that a peer takes, and says what its name promises.
import { expect, test } from 'vitest'
import { BUILT_IN_QUERIES } from '../../src/protocol/built-in-queries.ts'
import { parsePlan } from '../../src/protocol/parse-plan.ts'
import { RELATIONS } from '../../src/protocol/relations.ts'
import { World, type Fields } from '../live/kernel/world.ts'

const COLUMNS: Record<string, string> = {
  queues: 'service text, depth int, oldest_at time',
  running: 'runner text, service text, running int, oldest_at time',
  rates: 'service text, function text, window text, ended int, failure_rate float',
  latency:
    'service text, function text, ended int, p50_wait_ms int, p95_wait_ms int, p99_wait_ms int, p50_run_ms int, p95_run_ms int, p99_run_ms int',
  slowest: 'id text, service text, function text, runner text, attempt int, started_at time',
  dead: 'id text, service text, function text, failure text, attempt int, created_at time, finished_at time',
  runners: 'id text, host text, sdk text, joined_at time',
}

test('there are those that everyone needs', () => {
  expect([...BUILT_IN_QUERIES.keys()]).toEqual(Object.keys(COLUMNS))
})

test.each([...BUILT_IN_QUERIES])('%s is a plan that passes as it is, with these columns', (name, plan) => {
  const parsed = parsePlan(plan, RELATIONS)
  expect([...parsed.columns].map(([column, type]) => `${column} ${type}`).join(', ')).toBe(COLUMNS[name])
})

const HOUR_MS = 3_600_000
const NOW_MS = 10 * HOUR_MS

function job(id: string, fields: Fields): Fields {
  return { service: 's', function: 'f', attempt: 1, priority: 0, created_at: NOW_MS - 9_000, ...fields, id }
}

const JOBS = [
  job('p1', { state: 'pending' }),
  job('p2', { state: 'pending', created_at: NOW_MS - 60_000 }),
  job('r1', { state: 'running', runner: 'r', started_at: NOW_MS - 5 }),
  job('r2', { state: 'running', runner: 'r', started_at: NOW_MS - 7 }),
  job('ok', { state: 'succeeded', finished_at: NOW_MS - 1_000, wait_ms: 10, run_ms: 100 }),
  job('bad', { state: 'failed', failure: 'threw', finished_at: NOW_MS - 2 * 60_000, wait_ms: 20, run_ms: 50 }),
  job('old', { state: 'failed', failure: 'stalled', finished_at: NOW_MS - 2 * HOUR_MS, wait_ms: 1, run_ms: 1 }),
  job('redriven', { state: 'failed', failure: 'threw', finished_at: NOW_MS - 2 * HOUR_MS, wait_ms: 1, run_ms: 1 }),
]

const ROWS: [name: string, rows: unknown[]][] = [
  ['queues', [['s', 2, NOW_MS - 60_000]]],
  ['running', [['r', 's', 2, NOW_MS - 7]]],
  [
    'rates',
    [
      ['s', 'f', '1h', 2, 0.5],
      ['s', 'f', '1m', 1, 0],
      ['s', 'f', '5m', 2, 0.5],
    ],
  ],
  ['latency', [['s', 'f', 2, 10, 20, 20, 50, 100, 100]]],
  [
    'slowest',
    [
      ['r1', 's', 'f', 'r', 1, NOW_MS - 5],
      ['r2', 's', 'f', 'r', 1, NOW_MS - 7],
    ],
  ],
  ['dead', ['bad', 'old']],
  ['runners', [['a', 'host', null, 1]]],
]

test.each(ROWS)('%s says it', (name, rows) => {
  const world = new World({ nowMs: NOW_MS })
  for (const one of JOBS) world.insert('jobs', one)
  world.insert('redrives', { id: 'heir', redriven_from: 'redriven' })
  world.insert('runners', { id: 'a', host: 'host', joined_at: 1 })
  world.insert('runners', { id: 'b', joined_at: 1, left_at: 2 })
  const query = world.add({ plan: BUILT_IN_QUERIES.get(name) })
  const shown = world.rows(query).map((row) => (name === 'dead' ? row[0] : row.slice(0, -1)))
  expect(shown.toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))).toEqual(rows)
})
