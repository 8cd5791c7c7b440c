// Divides a plan among peers, for a query that is too large for one: into pieces, each of which reads some of the rows and keeps
// what follows from these, and a plan that makes the whole of what the pieces give.
//
//   jobs ── only shard 0 ── group by service ─┐
//   jobs ── only shard 1 ── group by service ─┼── pieces ── merge ──▶ the rows of the plan
//   jobs ── only shard 2 ── group by service ─┘
//
// A piece chooses its rows where they have not met others yet. Rows that an operator above brings together must be in one piece:
// those of a group, those that a join compares, equal ones of a set. What demands nothing takes any piece. Where rows of one
// group cannot be in one piece, each piece gives what it knows of the group, and `merge` adds that up.
import { CallplaneError } from '../protocol/errors.ts'
import type { Plan } from '../protocol/plan.ts'
import { columnsAfter, inputsOf, joinedName, keptOfRight } from '../protocol/plan-columns.ts'
import type { Columns, ColumnType, Relations } from '../protocol/relations.ts'
import { partialGroupBy } from './shard-groups.ts'

/** The relation of the rows that the pieces give, as `merge` reads it. No client's has such a name. */
export const PIECES = '#pieces'

export interface DividedPlan {
  piece: (at: number) => Plan
  /** Null: the rows of the pieces are those of the plan. */
  merge: Plan | null
  /** What `merge` reads. */
  relations: Relations
}

export interface DivideOptions {
  shards: number
  relations: Relations
  /** Whether each peer has all rows of the relation anyway: a join can take it whole. */
  isKept: (relation: string) => boolean
}

/** Throws `invalid_request`, which names the step that stands in the way. */
export function dividePlan(plan: Plan, options: DivideOptions): DividedPlan {
  const path = `plan.${plan.op}`
  const sparing = new Divider(options, { mayKeepLeft: false }).cut(plan, path)
  const cut = 'piece' in sparing ? sparing : new Divider(options, { mayKeepLeft: true }).cut(plan, path)
  if (!('piece' in cut)) throw cut
  const { piece, merge } = cut
  return { piece, merge: merge.op === 'from' ? null : merge, relations: merging(piece(0), options.relations) }
}

function merging(piece: Plan, relations: Relations): Relations {
  return new Map([[PIECES, columnsOf(piece, relations)]])
}

/** What piece `at` runs. */
type Piece = (at: number) => Plan

interface Cut {
  piece: Piece
  merge: Plan
}

/** Ways that are tried: more than any plan needs that makes sense. */
const MAX_TRIES = 10_000

class Divider {
  readonly #options: DivideOptions
  readonly #mayKeepLeft: boolean
  readonly #known = new Map<Plan, Map<string, Piece | null>>()
  #tries = 0

  /** What stands left in a join tends to be more than what is joined to it: to have it whole in every piece is a last resort. */
  constructor(options: DivideOptions, { mayKeepLeft }: { mayKeepLeft: boolean }) {
    this.#options = options
    this.#mayKeepLeft = mayKeepLeft
  }

  /** Or why there is none. */
  cut(plan: Plan, path: string): Cut | CallplaneError {
    const merge: Plan = { op: 'from', relation: PIECES }
    const whole = this.#divide(plan, null)
    if (whole !== null) return { piece: whole, merge }
    switch (plan.op) {
      case 'groupBy': {
        const input = this.#divide(plan.input, null)
        if (input === null) break
        const columns = this.#columns(plan.input)
        const { partial, merged } = partialGroupBy(plan, columns)
        return { piece: (at) => partial(input(at)), merge: merged(merge) }
      }
      case 'top': {
        const input = this.#divide(plan.input, null)
        if (input === null) break
        return { piece: (at) => ({ ...plan, input: input(at) }), merge: { ...plan, input: merge } }
      }
      case 'distinct': {
        const input = this.#divide(plan.input, null)
        if (input === null) break
        return { piece: (at) => ({ ...plan, input: input(at) }), merge: { op: 'distinct', input: merge } }
      }
      case 'union': {
        const inputs = this.#divideAll(plan.inputs, null)
        if (inputs === null) break
        return { piece: (at) => ({ ...plan, inputs: inputs(at) }), merge: { op: 'distinct', input: merge } }
      }
      default:
    }
    const [[, input] = [], ...others] = inputsOf(plan)
    // Time moves for rows of tables, and not for what was made of them.
    if (input === undefined || others.length > 0 || plan.op === 'window') return this.#refusal(plan, path)
    const below = this.cut(input, `${path}.input.${input.op}`)
    if (!('piece' in below)) return below
    return { piece: below.piece, merge: { ...plan, input: below.merge } as Plan } // a step with one input
  }

  #refusal(plan: Plan, path: string): CallplaneError {
    const why = WHY[plan.op] ?? 'its rows cannot be divided'
    return new CallplaneError(
      'invalid_request',
      `${path} cannot be divided into shards: ${why}; change the plan, or register it without shards`,
    )
  }

  /**
   * Pieces that together give each row of the plan as often as it is there: by the values of these columns, if any are named,
   * so that rows with equal ones are in one piece. Null: there are none.
   */
  #divide(plan: Plan, by: readonly string[] | null): Piece | null {
    const known = this.#known.get(plan) ?? new Map<string, Piece | null>()
    this.#known.set(plan, known)
    const key = JSON.stringify(by)
    const found = known.get(key)
    if (found !== undefined) return found
    if (++this.#tries > MAX_TRIES) {
      throw new CallplaneError('invalid_request', 'the plan is too intricate for shards: register it without')
    }
    const piece = by !== null && isStateless(plan) ? this.#chosen(plan, by) : this.#divideStep(plan, by)
    known.set(key, piece)
    return piece
  }

  #divideStep(plan: Plan, by: readonly string[] | null): Piece | null {
    switch (plan.op) {
      case 'from':
        return this.#chosen(plan, this.#spreading(plan.relation))
      case 'map':
        if (by?.some((name) => plan.columns.some(([computed]) => computed === name)) === true) return null
        return this.#over(plan, this.#divide(plan.input, by))
      case 'where':
      case 'window':
        return this.#over(plan, this.#divide(plan.input, by))
      case 'project': {
        const columnOf = new Map(plan.columns)
        const below = by?.map((name) => columnOf.get(name) ?? name) ?? null
        return this.#over(plan, this.#divide(plan.input, below))
      }
      case 'unionAll': {
        const inputs = this.#divideAll(plan.inputs, by)
        return inputs === null ? null : (at) => ({ ...plan, inputs: inputs(at) })
      }
      case 'union': {
        if (by === null) return this.#byAnyOf([...this.#columns(plan)], (some) => this.#divide(plan, some))
        const inputs = this.#divideAll(plan.inputs, by)
        return inputs === null ? null : (at) => ({ ...plan, inputs: inputs(at) })
      }
      case 'distinct':
        if (by === null) return this.#byAnyOf([...this.#columns(plan)], (some) => this.#divide(plan, some))
        return this.#over(plan, this.#divide(plan.input, by))
      case 'groupBy': {
        const columns = this.#columns(plan)
        const keys = [...columns].filter(([name]) => plan.by.includes(name))
        if (by === null) return this.#byAnyOf(keys, (some) => this.#divide(plan, some))
        return by.every((name) => plan.by.includes(name)) ? this.#over(plan, this.#divide(plan.input, by)) : null
      }
      case 'join':
        return this.#divideJoin(plan, by)
      case 'top':
      case 'recurse':
      case 'self':
        return null
    }
  }

  #divideJoin(plan: Extract<Plan, { op: 'join' }>, by: readonly string[] | null): Piece | null {
    const on = new Map(plan.on)
    const together = (some: readonly string[]): Piece | null => {
      const rightBy = some.map((name) => on.get(name) ?? name)
      const [left, right] = [this.#divide(plan.left, some), this.#divide(plan.right, rightBy)]
      return left === null || right === null ? null : (at) => ({ ...plan, left: left(at), right: right(at) })
    }
    const columns = { left: this.#columns(plan.left), right: this.#columns(plan.right) }
    const compared = [...columns.left].filter(([name]) => on.has(name))
    const both =
      by === null ? this.#byAnyOf(compared, together) : by.every((name) => on.has(name)) ? together(by) : null
    if (both !== null) return both

    if (this.#isKept(plan.right) && (by === null || by.every((name) => columns.left.has(name)))) {
      const left = this.#divide(plan.left, by)
      if (left !== null) return (at) => ({ ...plan, left: left(at) })
    }
    // In every piece, a left row would miss those that it matches in the others.
    if (!this.#mayKeepLeft || plan.kind !== 'inner' || !this.#isKept(plan.left)) return null
    const kept = keptOfRight(plan, columns.right).map(([name]) => [joinedName(plan, name), name] as const)
    const rightName = new Map([...kept, ...on])
    if (by?.every((name) => rightName.has(name)) === false) return null
    const right = this.#divide(plan.right, by?.map((name) => rightName.get(name) ?? name) ?? null)
    return right === null ? null : (at) => ({ ...plan, right: right(at) })
  }

  #divideAll(plans: readonly Plan[], by: readonly string[] | null): ((at: number) => Plan[]) | null {
    const pieces = plans.map((plan) => this.#divide(plan, by))
    return pieces.every((piece) => piece !== null) ? (at) => pieces.map((piece) => piece(at)) : null
  }

  #over(plan: Extract<Plan, { input: Plan }>, input: Piece | null): Piece | null {
    return input === null ? null : (at) => ({ ...plan, input: input(at) })
  }

  /** By as many of the columns as can be, so that the pieces are even; without floats, whose hash no table knows. */
  #byAnyOf(columns: readonly (readonly [string, ColumnType])[], divide: (by: readonly string[]) => Piece | null) {
    const exact = columns.filter(([, type]) => type !== 'float')
    const names = (exact.length > 0 ? exact : columns).map(([name]) => name)
    if (names.length === 0) return null
    const all = divide(names)
    if (all !== null || names.length === 1) return all
    const alone = names.filter((name) => divide([name]) !== null)
    return alone.length === 0 ? null : (divide(alone) ?? divide(alone.slice(0, 1)))
  }

  #chosen(plan: Plan, by: readonly string[]): Piece {
    const { shards: of } = this.#options
    const columns = by.map((name) => ({ op: 'column' as const, name }))
    return (at) => ({ op: 'where', input: plan, condition: { op: 'shard', by: columns, of, at } })
  }

  /** Columns that spread the rows of a relation: the id, or all of them. */
  #spreading(relation: string): string[] {
    const columns = [...(this.#options.relations.get(relation) ?? [])]
    if (columns.some(([name]) => name === 'id')) return ['id']
    const exact = columns.filter(([, type]) => type !== 'float')
    return (exact.length > 0 ? exact : columns).map(([name]) => name)
  }

  #isKept(plan: Plan): boolean {
    if (plan.op === 'from') return this.#options.isKept(plan.relation)
    return inputsOf(plan).every(([, input]) => this.#isKept(input))
  }

  #columns(plan: Plan): Columns {
    return columnsOf(plan, this.#options.relations)
  }
}

const WHY: Partial<Record<Plan['op'], string>> = {
  join: 'no columns that it compares lead to the tables on both sides, and neither side is kept whole at each peer (as runners, services and relations of your own are) beside another that can be divided',
  recurse: 'what a row leads to may be in any piece',
  union: 'one of its inputs cannot be divided',
  unionAll: 'one of its inputs cannot be divided',
  window: 'what it reads is known only once the pieces have met',
}

/** Its rows have not met others. */
function isStateless(plan: Plan): boolean {
  const isStep = ['from', 'where', 'map', 'project', 'unionAll'].includes(plan.op)
  return isStep && inputsOf(plan).every(([, input]) => isStateless(input))
}

function columnsOf(plan: Plan, relations: Relations): Columns {
  if (plan.op === 'from') return relations.get(plan.relation) ?? new Map<string, ColumnType>()
  // Nothing that holds either is divided.
  if (plan.op === 'self') return new Map<string, ColumnType>()
  if (plan.op === 'recurse') return columnsOf(plan.base, relations)
  return columnsAfter(
    plan,
    inputsOf(plan).map(([, input]) => columnsOf(input, relations)),
  )
}
