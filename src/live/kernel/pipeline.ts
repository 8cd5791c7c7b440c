// From a plan to its operators. On the way down go the columns that are asked for and the conditions that rows must fit, so
// that each leaf reads no more of its relation than the plan needs.
import type { Condition, Plan } from '../../protocol/plan.ts'
import { columnsAfter, columnsIn, columnsOfAggregate, inputsOf, joinedName } from '../../protocol/plan-columns.ts'
import type { Columns, ColumnType, Relations } from '../../protocol/relations.ts'
import { distinct } from './distinct.ts'
import { checkOf, computeOf } from './evaluate.ts'
import { groupBy } from './group.ts'
import { join } from './join.ts'
import { concat, feed, filter, mapRows, type Feed, type Operator } from './operator.ts'
import { conjuncts, isTheSameInSql, loosened, renamed, uncomputed } from './rewrite.ts'
import { recurse } from './recurse.ts'
import { sourceOf, type Source } from './source.ts'
import { top } from './top.ts'
import { window, type Clock } from './window.ts'

export interface Built {
  operator: Operator
  columns: Columns
}

export interface Leaf {
  source: Source
  feed: Feed
}

export interface Pipeline extends Built {
  leaves: Leaf[]
  /** Those that hold rows, in the order in which they were built: the same for the same plan. */
  stateful: Operator[]
  hasWindow: boolean
}

export interface Surroundings {
  relations: Relations
  clock: Clock
  maxRows: number
}

export function pipelineOf(plan: Plan, surroundings: Surroundings): Pipeline {
  const builder = new Builder(surroundings)
  const columns = builder.columnsOf(plan)
  const { operator } = builder.pick(builder.build(plan, { need: new Set(columns.keys()), filters: [] }), [
    ...columns.keys(),
  ])
  const { leaves, stateful, hasWindow } = builder
  return { operator, columns, leaves, stateful, hasWindow }
}

/** What is asked of a step from above. */
interface Asked {
  need: ReadonlySet<string>
  filters: readonly Condition[]
  /** Rows not later than this are not looked at, so that a hydration may leave them out. */
  since?: Source['since']
}

class Builder {
  readonly leaves: Leaf[] = []
  readonly stateful: Operator[] = []
  hasWindow = false
  readonly #surroundings: Surroundings
  readonly #found = new Map<string, { feed: Feed; columns: Columns }>()

  constructor(surroundings: Surroundings) {
    this.#surroundings = surroundings
  }

  columnsOf(plan: Plan): Columns {
    if (plan.op === 'from') return this.#surroundings.relations.get(plan.relation) ?? new Map<string, ColumnType>()
    if (plan.op === 'self') return this.#found.get(plan.name)?.columns ?? new Map<string, ColumnType>()
    // The columns of a recursion are those of its base, and its step cannot be asked before it has a name.
    if (plan.op === 'recurse') return this.columnsOf(plan.base)
    return columnsAfter(
      plan,
      inputsOf(plan).map(([, input]) => this.columnsOf(input)),
    )
  }

  /** Columns that are needed, and maybe others. */
  build(plan: Plan, asked: Asked): Built {
    switch (plan.op) {
      case 'from':
        return this.#leaf(plan.relation, asked)
      case 'self': {
        const self = this.#found.get(plan.name)
        if (self === undefined) throw new TypeError(`no recursion is called ${plan.name}`)
        return this.#filtered({ operator: self.feed, columns: self.columns }, asked.filters)
      }
      case 'where':
        return this.build(plan.input, { ...asked, filters: [...asked.filters, ...conjuncts(plan.condition)] })
      case 'map':
        return this.#map(plan, asked)
      case 'project': {
        const columnOf = new Map(plan.columns)
        const wanted = plan.columns.filter(([name]) => asked.need.has(name))
        const filters = asked.filters.map((condition) => renamed(condition, columnOf))
        const need = new Set(wanted.map(([, column]) => column))
        return this.#renamed(this.build(plan.input, { need, filters }), wanted)
      }
      case 'join':
        return this.#join(plan, asked)
      case 'union':
      case 'unionAll':
        return this.#union(plan, asked)
      case 'distinct':
        return this.#distinct(this.#all(plan.input, asked.filters))
      case 'groupBy':
        return this.#groupBy(plan, asked)
      case 'top': {
        const input = this.#all(plan.input, [])
        return this.#filtered(this.#keep(top(input.operator, plan, input.columns), input.columns), asked.filters)
      }
      case 'window': {
        const since = { column: plan.column, lengthMs: plan.lengthMs }
        const input = this.build(plan.input, { ...asked, need: new Set([...asked.need, plan.column]), since })
        const { columns } = input
        this.hasWindow = true
        return this.#keep(window(input.operator, plan, { columns, clock: this.#surroundings.clock }), columns)
      }
      case 'recurse':
        return this.#filtered(this.#recurse(plan), asked.filters)
    }
  }

  /** The columns of this list alone, in its order. */
  pick(built: Built, names: readonly string[]): Built {
    return this.#renamed(
      built,
      names.map((name) => [name, name]),
    )
  }

  #renamed({ operator, columns }: Built, pairs: readonly (readonly [name: string, column: string])[]): Built {
    const known = [...columns.keys()]
    const picked = new Map(pairs.map(([name, column]) => [name, columns.get(column) ?? 'text'] as const))
    if (pairs.length === known.length && pairs.every(([, column], n) => column === known[n])) {
      return { operator, columns: picked }
    }
    const computes = pairs.map(([, column]) => computeOf({ op: 'column', name: column }, columns))
    return { operator: mapRows(operator, computes), columns: picked }
  }

  #filtered({ operator, columns }: Built, filters: readonly Condition[]): Built {
    if (filters.length === 0) return { operator, columns }
    return { operator: filter(operator, checkOf({ op: 'and', of: [...filters] }, columns)), columns }
  }

  #keep(operator: Operator, columns: Columns): Built {
    this.stateful.push(operator)
    return { operator, columns }
  }

  /** All columns of a step, in its order: where a row counts as a whole. */
  #all(plan: Plan, filters: readonly Condition[]): Built {
    const names = [...this.columnsOf(plan).keys()]
    return this.pick(this.build(plan, { need: new Set(names), filters }), names)
  }

  #leaf(relation: string, { need, filters, since }: Asked): Built {
    const all = this.#surroundings.relations.get(relation) ?? new Map<string, ColumnType>()
    const [here, inSource] = split(filters, (condition) => isTheSameInSql(condition, all))
    const needed = new Set([...need, ...here.flatMap(columnsIn)])
    const columns = new Map([...all].filter(([name]) => needed.has(name)))
    const leaf = { source: sourceOf(relation, [...columns.keys()], inSource, since), feed: feed() }
    this.leaves.push(leaf)
    return this.#filtered({ operator: leaf.feed, columns }, here)
  }

  #map(plan: Extract<Plan, { op: 'map' }>, asked: Asked): Built {
    const own = new Map(plan.columns)
    const filters = asked.filters.map((condition) => uncomputed(condition, own))
    const [above, below] = splitByColumn(filters, (column) => !own.has(column))
    const need = new Set([...asked.need, ...above.flatMap(columnsIn)])
    const computed = plan.columns.filter(([name]) => need.has(name))
    const passed = [...need].filter((name) => !own.has(name))
    const input = this.build(plan.input, {
      need: new Set([...passed, ...computed.flatMap(([, of]) => columnsIn(of))]),
      filters: below,
    })
    const kept = [...input.columns].filter(([name]) => passed.includes(name))
    const computes = [
      ...kept.map(([name]) => computeOf({ op: 'column', name }, input.columns)),
      ...computed.map(([, of]) => computeOf(of, input.columns)),
    ]
    const types = this.columnsOf(plan)
    const columns = new Map([...kept, ...computed.map(([name]) => [name, types.get(name) ?? 'text'] as const)])
    return this.#filtered({ operator: mapRows(input.operator, computes), columns }, above)
  }

  #join(plan: Extract<Plan, { op: 'join' }>, asked: Asked): Built {
    const ofLeft = this.columnsOf(plan.left)
    const rightName = new Map(
      [...this.columnsOf(plan.right).keys()]
        .filter((name) => !plan.on.some(([, compared]) => compared === name))
        .map((name) => [joinedName(plan, name), name] as const),
    )
    const [notLeft, toLeft] = splitByColumn(asked.filters, (column) => ofLeft.has(column))
    // Below a left join, a row that does not fit would still be there, without its match.
    const [above, toRight] =
      plan.kind === 'inner' ? splitByColumn(notLeft, (column) => rightName.has(column)) : [notLeft, []]
    const need = new Set([...asked.need, ...above.flatMap(columnsIn)])
    const left = this.build(plan.left, {
      need: new Set([...need, ...plan.on.map(([name]) => name)].filter((name) => ofLeft.has(name))),
      filters: toLeft,
    })
    const wanted = plan.kind === 'anti' ? [] : [...need].flatMap((name) => rightName.get(name) ?? [])
    const right = this.build(plan.right, {
      need: new Set([...wanted, ...plan.on.map(([, name]) => name)]),
      filters: toRight.map((condition) => renamed(condition, rightName)),
    })
    const columns = columnsAfter(plan, [left.columns, right.columns])
    const inputs = { left: left.operator, right: right.operator }
    return this.#filtered(this.#keep(join(inputs, plan, { left: left.columns, right: right.columns }), columns), above)
  }

  #union(plan: Extract<Plan, { op: 'union' | 'unionAll' }>, asked: Asked): Built {
    const all = [...this.columnsOf(plan).keys()]
    const names = plan.op === 'union' ? all : all.filter((name) => asked.need.has(name))
    const need = new Set(names)
    const inputs = plan.inputs.map((input) => this.pick(this.build(input, { need, filters: asked.filters }), names))
    const columns = inputs[0]?.columns ?? new Map<string, ColumnType>()
    const together = { operator: concat(inputs.map(({ operator }) => operator)), columns }
    return plan.op === 'union' ? this.#distinct(together) : together
  }

  #distinct({ operator, columns }: Built): Built {
    return this.#keep(distinct(operator, columns), columns)
  }

  #groupBy(plan: Extract<Plan, { op: 'groupBy' }>, asked: Asked): Built {
    const [above, below] = splitByColumn(asked.filters, (column) => plan.by.includes(column))
    const need = new Set([...asked.need, ...above.flatMap(columnsIn)])
    const aggregates = plan.aggregates.filter(([name]) => need.has(name))
    const input = this.build(plan.input, {
      need: new Set([...plan.by, ...aggregates.flatMap(([, of]) => columnsOfAggregate(of))]),
      filters: below,
    })
    const grouped = { ...plan, aggregates }
    const columns = columnsAfter(grouped, [input.columns])
    return this.#filtered(this.#keep(groupBy(input.operator, grouped, input.columns), columns), above)
  }

  #recurse(plan: Extract<Plan, { op: 'recurse' }>): Built {
    const base = this.#all(plan.base, [])
    const { columns } = base
    const self = { feed: feed(), columns }
    this.#found.set(plan.name, self)
    const step = this.#all(loosened(plan.step, plan.name), [])
    this.#found.delete(plan.name)
    const parts = { base: base.operator, step: step.operator, self: self.feed }
    return this.#keep(recurse(parts, { columns, maxRows: this.#surroundings.maxRows }), columns)
  }
}

/** Those with a column that does not fit, and those without. A condition without columns stays. */
function splitByColumn(filters: readonly Condition[], fits: (column: string) => boolean): [Condition[], Condition[]] {
  return split(filters, (condition) => {
    const columns = columnsIn(condition)
    return columns.length > 0 && columns.every(fits)
  })
}

/** Those that do not fit, and those that do. */
function split(filters: readonly Condition[], fits: (condition: Condition) => boolean): [Condition[], Condition[]] {
  return [filters.filter((one) => !fits(one)), filters.filter(fits)]
}
