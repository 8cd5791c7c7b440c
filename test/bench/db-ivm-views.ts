// The benchmark's views in @tanstack/db-ivm: the figures to stand beside, and a second opinion on the results.
import {
  D2,
  filter,
  groupBy,
  groupByOperators,
  join,
  map,
  MultiSet,
  orderByWithFractionalIndex,
  output,
  type IStreamBuilder,
  type RootStreamBuilder,
} from '@tanstack/db-ivm'
import type { RelationChange } from '../../src/live/kernel/dataflow.ts'
import { RELATIONS, type Row, type Value } from '../../src/protocol/relations.ts'

/** Takes changes, and holds the rows of the view as texts, with how many there are of each. */
export interface OtherView {
  take: (changes: readonly RelationChange[]) => void
  rows: ReadonlyMap<string, number>
}

const AT = new Map([...(RELATIONS.get('jobs') ?? [])].map(([name], index) => [name, index]))
const of = (row: Row, name: string): Value => row[AT.get(name) ?? -1] ?? null
const numberOf = (row: Row, name: string): number => Number(of(row, name))
const { count, sum, avg, min, max } = groupByOperators

/** The library gives no result, but calls this with each of its changes. */
type Say = (row: unknown[], diff: number) => void

type Build = (streams: { jobs: IStreamBuilder<Row>; machines: IStreamBuilder<Row> }, say: Say) => void

const BUILDS: Record<'count' | 'aggregates' | 'join' | 'top', Build> = {
  count: ({ jobs }, say) => {
    jobs.pipe(
      groupBy((row: Row) => ({ fn: of(row, 'function'), state: of(row, 'state') }), { n: count() }),
      output((changes) => {
        for (const [[, { fn, state, n }], diff] of changes.getInner()) say([fn, state, n], diff)
      }),
    )
  },
  aggregates: ({ jobs }, say) => {
    const runMs = (row: Row): number => numberOf(row, 'run_ms')
    jobs.pipe(
      groupBy((row: Row) => ({ fn: of(row, 'function') }), {
        n: count(),
        total: sum(runMs),
        mean: avg(runMs),
        least: min(runMs),
        most: max(runMs),
      }),
      output((changes) => {
        for (const [[, { fn, n, total, mean, least, most }], diff] of changes.getInner()) {
          say([fn, n, total, mean, least, most], diff)
        }
      }),
    )
  },
  join: ({ jobs, machines }, say) => {
    // With its key inside, no two values share the 32 bits by which the library tells them apart.
    const byMachine = jobs.pipe(
      map((row: Row): [string, Row] => [
        String(of(row, 'runner')),
        [of(row, 'id'), of(row, 'runner'), of(row, 'state')],
      ]),
    )
    const byId = machines.pipe(map((row: Row): [string, Row] => [String(row[0]), row]))
    byMachine.pipe(
      join(byId, 'inner'),
      output((changes) => {
        for (const [[, [job, machine]], diff] of changes.getInner()) {
          say([...(job ?? []), ...(machine ?? []).slice(1)], diff)
        }
      }),
    )
  },
  top: ({ jobs }, say) => {
    jobs.pipe(
      filter((row: Row) => of(row, 'run_ms') !== null),
      map((row: Row): [string, Row] => [String(of(row, 'id')), [of(row, 'id'), of(row, 'run_ms')]]),
      orderByWithFractionalIndex((row: Row) => row, {
        comparator: ([idA, msA]: Row, [idB, msB]: Row) =>
          Number(msB) - Number(msA) || (String(idA) < String(idB) ? -1 : 1),
        limit: 10,
      }),
      output((changes) => {
        for (const [[, [row]], diff] of changes.getInner()) say([...row], diff)
      }),
    )
  },
}

export function dbIvmView(name: keyof typeof BUILDS): OtherView {
  const graph = new D2()
  const [jobs, machines]: RootStreamBuilder<Row>[] = [graph.newInput<Row>(), graph.newInput<Row>()]
  if (jobs === undefined || machines === undefined) throw new TypeError('there are two inputs')
  const rows = new Map<string, number>()
  BUILDS[name]({ jobs, machines }, (row, diff) => {
    const key = JSON.stringify(row)
    const sum = (rows.get(key) ?? 0) + diff
    if (sum === 0) rows.delete(key)
    else rows.set(key, sum)
  })
  graph.finalize()
  return {
    rows,
    take: (changes) => {
      for (const [stream, relation] of [
        [jobs, 'jobs'],
        [machines, 'machines'],
      ] as const) {
        const own = changes.filter((change) => change.relation === relation)
        if (own.length > 0) stream.sendData(new MultiSet(own.map(({ row, diff }) => [row, diff])))
      }
      graph.run()
    },
  }
}
