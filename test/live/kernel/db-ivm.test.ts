// A second opinion: @tanstack/db-ivm computes the benchmark's views as the kernel does, where it is exact.
import { expect, test } from 'vitest'
import { Dataflow, sourcesOf } from '../../../src/live/kernel/dataflow.ts'
import { parsePlan } from '../../../src/protocol/parse-plan.ts'
import { dbIvmView } from '../../bench/db-ivm-views.ts'
import { Fleet, RELATIONS_HERE, VIEWS } from '../../bench/live-kernel.ts'

test.each(['count', 'aggregates', 'join', 'top'] as const)('%s', (name) => {
  const fleet = new Fleet(1_000)
  const { plan } = parsePlan(VIEWS[name]().plan, RELATIONS_HERE)
  const flow = new Dataflow({ relations: RELATIONS_HERE, maxRows: 100_000, nowMs: 0 })
  const query = flow.add(plan, new Map(sourcesOf(plan, RELATIONS_HERE).map(({ text }) => [text, []])))
  const other = dbIvmView(name)
  for (let tick = 0; tick < 30; tick++) {
    const changes = tick === 0 ? fleet.all() : fleet.changes(40, { machineEvery: 25 })
    flow.apply(changes)
    flow.flush()
    other.take(changes)
    const ours = flow.rows(query).map(([row, count]) => `${JSON.stringify(row)} ×${count}`)
    const theirs = [...other.rows].map(([row, count]) => `${row} ×${count}`)
    expect(ours.toSorted()).toEqual(theirs.toSorted())
  }
})
