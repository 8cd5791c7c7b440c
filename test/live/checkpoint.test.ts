// What is in a checkpoint, and what of it is passed over by who loads it.
import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { CHECKPOINT_FORMAT, checkpointOf, loadCheckpoint } from '../../src/live/checkpoint.ts'
import { Registry } from '../../src/live/registry.ts'
import type { RoomState } from '../../src/live/room-options.ts'
import { roomOf } from '../../src/live/room-state.ts'
import { sourcesOf, type Query } from '../../src/live/kernel/dataflow.ts'
import { from } from '../../src/protocol/from.ts'
import { avg, count, failureRate, max, p95, variance } from '../../src/protocol/aggregation.ts'
import { parsePlan } from '../../src/protocol/parse-plan.ts'
import { RELATIONS, type Row } from '../../src/protocol/relations.ts'
import type { Plan } from '../../src/protocol/plan.ts'

const jobs = from('jobs')
const calls: Plan = {
  op: 'project',
  input: jobs.plan,
  columns: [
    ['id', 'id'],
    ['parent', 'parent'],
  ],
}

/** Every operator that has a state. */
const PLANS: Record<string, Plan> = {
  rows: jobs.select('id', 'state').plan,
  groups: jobs.groupBy('service').aggregate({
    calls: count(),
    mean: avg('run_ms'),
    spread: variance('run_ms'),
    last: max('created_at'),
    slow: p95('run_ms'),
    failed: failureRate(),
  }).plan,
  first: jobs.select('id', 'attempt').orderBy('attempt').limit(1).plan,
  kinds: jobs.select('state').distinct().plan,
  lately: jobs.window('created_at', 1_000).select('id').plan,
  owned: { op: 'join', kind: 'left', left: calls, right: { op: 'from', relation: 'redrives' }, on: [['id', 'id']] },
  tree: {
    op: 'recurse',
    name: 'found',
    base: calls,
    step: {
      op: 'project',
      input: {
        op: 'join',
        kind: 'inner',
        left: { op: 'self', name: 'found' },
        right: calls,
        on: [['parent', 'id']],
        prefix: 'right_',
      },
      columns: [
        ['id', 'id'],
        ['parent', 'right_parent'],
      ],
    },
  },
}

const job = (id: string, state: string, parent: string | null, at: number): Row => [
  id,
  'greeter',
  'hello',
  state,
  null,
  null,
  1,
  0,
  parent,
  at,
  at,
  at + 5,
  0,
  5,
]

function setup(plans: Record<string, Plan> = PLANS): RoomState {
  const registry = new Registry(new Map())
  for (const [name, plan] of Object.entries(plans)) {
    const { error } = registry.apply({ Register: { name, plan } }, 1_000)
    if (error !== null) throw error
  }
  registry.apply({ Time: 10_000 }, 10_000)
  const room = roomOf(registry, 7, {})
  const watched = new Map<string, Query>()
  for (const [name, sent] of Object.entries(plans)) {
    const { plan } = parsePlan(sent, RELATIONS)
    watched.set(name, room.flow.add(plan, new Map(sourcesOf(plan, RELATIONS).map(({ text }) => [text, []]))))
  }
  const rows = [job('a', 'succeeded', null, 9_500), job('b', 'failed', 'a', 9_700), job('c', 'pending', 'b', 10_400)]
  room.flow.apply(rows.map((row) => ({ relation: 'jobs', row, diff: 1 })))
  room.flow.flush()
  return { ...room, watched }
}

function loaded(text: string, builtIn: ReadonlyMap<string, Plan> = new Map()) {
  const logged: object[] = []
  const checkpoint = loadCheckpoint({ checkpoint: () => text, builtIn, log: (event) => logged.push(event) })
  return { checkpoint, logged }
}

const textOf = (room: RoomState): string => checkpointOf(room) ?? ''

test('what operators hold is of this format: who changes it raises the format', () => {
  const { flow, watched } = setup()
  const dumps = Object.fromEntries([...watched].map(([name, query]) => [name, flow.dump(query)]))
  const digest = createHash('sha256').update(JSON.stringify(dumps)).digest('hex').slice(0, 16)
  expect({ format: CHECKPOINT_FORMAT, digest }).toEqual({ format: 1, digest: '55920de21eafd5db' })
})

test('every query is there with its rows', () => {
  const room = setup()
  const { checkpoint } = loaded(textOf(room))
  expect(checkpoint?.tick).toBe(7)
  for (const [name, query] of room.watched) {
    const other = checkpoint?.watched.get(name)
    if (checkpoint === null || other === undefined) throw new Error(`${name} is not there`)
    expect(checkpoint.flow.rows(other), name).toEqual(room.flow.rows(query))
  }
})

test('a window is in doubt where the log may have forgotten times since', () => {
  const text = textOf(setup())
  expect(loaded(text).checkpoint?.doubtful).toEqual([])
  const old = JSON.stringify({ ...(JSON.parse(text) as object), atMs: Date.now() - 60_000 })
  expect(loaded(old).checkpoint?.doubtful).toEqual(['lately'])
})

test('a query that is built in, and another one in this build, begins anew', () => {
  const [before, now] = [PLANS['rows'], PLANS['kinds']].map((plan) => parsePlan(plan, RELATIONS).plan)
  if (before === undefined || now === undefined) throw new Error('there are two')
  const room = setup({ it: before })
  const text = JSON.stringify({ ...(JSON.parse(textOf(room)) as object), commands: [] })
  const namesWith = (plan: Plan) => {
    const { checkpoint } = loaded(text, new Map([['it', plan]]))
    expect(checkpoint?.tick).toBe(7)
    return [...(checkpoint?.watched.keys() ?? [])]
  }
  expect(namesWith(before)).toEqual(['it'])
  expect(namesWith(now)).toEqual([])
})

test('what cannot be read is passed over, and said', () => {
  for (const text of ['{}', 'no', textOf(setup()).replace('"rows"', '"')]) {
    const { checkpoint, logged } = loaded(text)
    expect(checkpoint).toBeNull()
    expect(logged).toMatchObject([{ level: 'warn', event: 'checkpoint_unread' }])
  }
})
