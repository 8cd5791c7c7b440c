// A registry that is kept as commands is the same once they are applied, and goes on as the one that it was.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Command } from '../../src/live/commands.ts'
import { Registry } from '../../src/live/registry.ts'
import { commandsOf } from '../../src/live/registry-commands.ts'
import { from } from '../../src/protocol/from.ts'
import type { Plan } from '../../src/protocol/plan.ts'

const columns = [
  { name: 'id', type: 'text' },
  { name: 'big', type: 'int64' },
  { name: 'f', type: 'float' },
] as const
const RELATIONS = ['raw', 'distinct', 'last'] as const
const PLANS: Plan[] = [from('jobs').groupBy('state').count().plan, { op: 'from', relation: 'raw' }]

const anyChange = fc.record({
  relation: fc.constantFrom(...RELATIONS, 'none'),
  row: fc.record({
    id: fc.constantFrom('a', 'b', 'ü~1:', null),
    big: fc.constantFrom('9007199254740993', '-1', null),
    f: fc.constantFrom(0.1, -2.5e-300, 1e21, null),
  }),
  diff: fc.constantFrom(1, 1, 2, -1),
})
const anyCommand: fc.Arbitrary<Command> = fc.oneof(
  fc.record({
    Transact: fc.record(
      { changes: fc.array(anyChange, { maxLength: 3 }), at: fc.integer({ min: 0, max: 90 }) },
      { requiredKeys: ['changes'] },
    ),
  }),
  fc.constantFrom(...RELATIONS).map((name) => ({ CloseInput: { name } })),
  fc.record({
    Register: fc.record({
      name: fc.constantFrom('p', 'q'),
      plan: fc.constantFrom(...PLANS),
      shards: fc.constantFrom(1, 3),
    }),
  }),
  fc.constantFrom('p', 'q').map((name) => ({ Unregister: { name } })),
  fc.constantFrom('r1', 'r2').map((id) => ({ Put: { relation: 'runners', row: { id, joined_at: 7 } } })),
  fc.constantFrom('r1', 'r2').map((id) => ({ Drop: { relation: 'runners', row: { id } } })),
  fc.integer({ min: 0, max: 90 }).map((Time) => ({ Time })),
  fc.integer({ min: 0, max: 90 }).map((Due) => ({ Due })),
)
const anyLog = fc.array(fc.tuple(anyCommand, fc.integer({ min: 0, max: 60 })), { maxLength: 25 })

const CREATE: Command[] = [
  { CreateAttribute: { name: 'raw', columns: [...columns] } },
  { CreateAttribute: { name: 'distinct', columns: [...columns], semantics: 'distinct' } },
  { CreateAttribute: { name: 'last', columns: [...columns], semantics: 'last_write_wins', key: ['id'] } },
]

function again(registry: Registry): Registry {
  const made = new Registry()
  const { reachedMs } = registry.parts
  made.reach(reachedMs)
  const commands = JSON.parse(JSON.stringify(commandsOf(registry))) as Command[]
  for (const command of commands) expect(made.apply(command, reachedMs).error).toBeNull()
  return made
}

/** In an order that says nothing of how it came about. */
const all = (registry: Registry) => ({
  rows: [...registry.relations.keys()].flatMap((name) => registry.rowsOf(name).map(textOf)).toSorted(),
  plans: ['p', 'q'].map((name) => registry.registered(name)),
  nowMs: registry.nowMs,
  nextMs: registry.nextMs,
  size: registry.size,
})
const textOf = (of: unknown) =>
  JSON.stringify(of, (_, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value))

test('whatever was applied before, and whatever is after', () => {
  fc.assert(
    fc.property(anyLog, anyLog, (before, after) => {
      const registry = new Registry()
      for (const command of CREATE) registry.apply(command, 1)
      for (const [command, atMs] of before) registry.apply(command, atMs)
      const kept = again(registry)
      expect(all(kept)).toEqual(all(registry))
      for (const [command, atMs] of after) {
        const [one, other] = [registry, kept].map((each) => each.apply(command, atMs))
        expect(textOf(other?.changes)).toBe(textOf(one?.changes))
        expect(other?.error?.message).toBe(one?.error?.message)
      }
      expect(all(kept)).toEqual(all(registry))
    }),
    { numRuns: 500 },
  )
})
