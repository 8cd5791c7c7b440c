// The same views in SQL: what a query begins with, read from the tables, and the whole of a plan as one statement.
import type { SqlParam, SqlScalar, SqlValue } from '../db/sql.ts'
import type { Plan } from '../protocol/plan.ts'
import { inputsOf, columnsAfter, joinedName, keptOfRight } from '../protocol/plan-columns.ts'
import { parseValue, type Columns, type ColumnType, type Relations, type Row } from '../protocol/relations.ts'
import { aggregateSql, conditionSql, expressionSql, name, TYPES, type Parameters } from './expression-sql.ts'
import type { Source } from './kernel/source.ts'
import { relationSql } from './relation-sql.ts'

export interface Statement {
  text: string
  params: SqlParam[]
}

export interface View {
  relations: Relations
  namespace: string
  nowMs: number
  /** A select of a client's own relation: its columns by name, text in the collation "C", times as milliseconds. */
  own?: ReadonlyMap<string, string>
}

/** The rows of a plan, each as often as it is there. Read them with `readRows`. */
export function planSql(plan: Plan, view: View): Statement {
  const writer = new Writer(view)
  const { text, columns } = writer.step(plan)
  return writer.statement(['select', outputs(columns), 'from', `(${text}) t`])
}

/** Each different row of a source and how many there are of it, as its last column. */
export function hydrationSql(source: Source, view: View): Statement {
  const writer = new Writer(view)
  const all = view.relations.get(source.relation) ?? new Map<string, ColumnType>()
  const columns = columnsOfSource(source, view.relations)
  const fits = source.where.map((condition) => conditionSql(condition, { columns: all, param: writer.param }))
  if (source.since !== undefined) {
    fits.push(`${name(source.since.column)} > ${writer.param(view.nowMs - source.since.lengthMs, 'time')}`)
  }
  const groups = [...columns.keys()].map((_, place) => String(place + 1))
  const selected = columns.size > 0 ? `${outputs(columns)}, count(*)::int8 as n` : 'count(*)::int8 as n'
  const from = `(${relationSql(source.relation, view.own)}) t`
  const where = fits.length > 0 ? ['where', fits.join(' and ')] : []
  const groupBy = groups.length > 0 ? ['group by', groups.join(', ')] : []
  return writer.statement(['select', selected, 'from', from, ...where, ...groupBy])
}

export function columnsOfSource({ relation, columns }: Source, relations: Relations): Columns {
  const all = relations.get(relation)
  return new Map(columns.map((column) => [column, all?.get(column) ?? 'text']))
}

type Record = { [column: string]: SqlValue }

/** The rows that a statement of `planSql` gave. */
export function readRows(records: readonly Record[], columns: Columns): Row[] {
  const types = [...columns.values()]
  return records.map((record) => types.map((type, place) => parseValue(type, record[`c${place}`] ?? null) ?? null))
}

/** The rows that a statement of `hydrationSql` gave, with how many there are. */
export function readHydration(records: readonly Record[], columns: Columns): [Row, number][] {
  const rows = readRows(records, columns)
  return rows.flatMap((row, place): [Row, number][] => {
    const count = Number(records[place]?.['n'])
    return count === 0 ? [] : [[row, count]]
  })
}

/** An int64 travels as text: as a number it would not be exact. */
function outputs(columns: Columns): string {
  return [...columns]
    .map(([column, type], place) => `${name(column)}${type === 'int64' ? '::text' : ''} as c${place}`)
    .join(', ')
}

interface Written {
  text: string
  columns: Columns
}

class Writer {
  readonly #view: View
  readonly #params: SqlParam[]
  readonly #found = new Map<string, Columns>()

  constructor(view: View) {
    this.#view = view
    this.#params = [view.namespace]
  }

  readonly param: Parameters['param'] = (value: SqlScalar, type) => {
    this.#params.push(value)
    return `$${this.#params.length}::${TYPES[type]}`
  }

  /** $1 is named in a condition of its own, for a view that reads no table of the namespace. */
  statement(words: readonly string[]): Statement {
    const scope = words.includes('where') ? 'and' : 'where'
    const end = words.indexOf('group by')
    const at = end < 0 ? words.length : end
    return { text: words.toSpliced(at, 0, scope, '$1::text is not null').join(' '), params: this.#params }
  }

  step(plan: Plan): Written {
    if (plan.op === 'from') {
      const columns = this.#view.relations.get(plan.relation) ?? new Map<string, ColumnType>()
      return { text: relationSql(plan.relation, this.#view.own), columns }
    }
    if (plan.op === 'self') {
      const columns = this.#found.get(plan.name) ?? new Map<string, ColumnType>()
      return { text: select('*', name(`found ${plan.name}`)), columns }
    }
    if (plan.op === 'recurse') return this.#recurse(plan)
    const inputs = inputsOf(plan).map(([, input]) => this.step(input))
    const columns = columnsAfter(
      plan,
      inputs.map((input) => input.columns),
    )
    return { text: this.#text(plan, inputs), columns }
  }

  #text(plan: Exclude<Plan, { op: 'from' | 'self' | 'recurse' }>, inputs: readonly Written[]): string {
    const [first = { text: '', columns: new Map<string, ColumnType>() }, second = first] = inputs
    const parameters = { columns: first.columns, param: this.param }
    const table = `(${first.text}) t`
    switch (plan.op) {
      case 'where':
        return select('*', table, 'where', conditionSql(plan.condition, parameters))
      case 'map':
        return select(
          ['*', ...plan.columns.map(([own, of]) => `${expressionSql(of, parameters)} as ${name(own)}`)].join(', '),
          table,
        )
      case 'project':
        return select(plan.columns.map(([own, column]) => `${name(column)} as ${name(own)}`).join(', '), table)
      case 'join':
        return joinText(plan, first, second)
      case 'union':
      case 'unionAll':
        // A union of one is distinct too.
        return plan.op === 'unionAll'
          ? inputs.map(({ text }) => `(${text})`).join(' union all ')
          : [...inputs, first].map(({ text }) => `(${text})`).join(' union ')
      case 'distinct':
        return select('distinct *', table)
      case 'groupBy': {
        const by = plan.by.map(name)
        const outputs = [
          ...by,
          ...plan.aggregates.map(([own, of]) => `${aggregateSql(of, parameters)} as ${name(own)}`),
        ]
        return select(outputs.join(', '), table, ...(by.length > 0 ? ['group by', by.join(', ')] : []))
      }
      case 'top': {
        const order = plan.orderBy.map(([column, direction]) => `${name(column)} ${direction}`)
        const ties = [...first.columns.keys()].map(name)
        return select('*', table, 'order by', [...order, ...ties].join(', '), 'limit', this.param(plan.limit, 'int'))
      }
      case 'window': {
        const column = name(plan.column)
        const [from, to] = [this.#view.nowMs - plan.lengthMs, this.#view.nowMs]
        return select(
          '*',
          table,
          'where',
          `${column} > ${this.param(from, 'time')} and ${column} <= ${this.param(to, 'time')}`,
        )
      }
    }
  }

  #recurse(plan: Extract<Plan, { op: 'recurse' }>): Written {
    const base = this.step(plan.base)
    this.#found.set(plan.name, base.columns)
    const step = this.step(plan.step)
    this.#found.delete(plan.name)
    const found = name(`found ${plan.name}`)
    const columns = [...base.columns.keys()].map(name).join(', ')
    const text = `with recursive ${found} (${columns}) as ((${base.text}) union (${step.text})) ${select('*', found)}`
    return { text, columns: base.columns }
  }
}

function select(outputs: string, table: string, ...rest: readonly string[]): string {
  return ['select', outputs, 'from', table, ...rest].join(' ')
}

function joinText(plan: Extract<Plan, { op: 'join' }>, left: Written, right: Written): string {
  const on = plan.on.map(([a, b]) => `t.${name(a)} = u.${name(b)}`).join(' and ')
  if (plan.kind === 'anti') {
    return select('*', `(${left.text}) t`, `where not exists (${select('1', `(${right.text}) u`, 'where', on)})`)
  }
  const kept = keptOfRight(plan, right.columns).map(
    ([column]) => `u.${name(column)} as ${name(joinedName(plan, column))}`,
  )
  const kind = plan.kind === 'left' ? 'left join' : 'join'
  return select(['t.*', ...kept].join(', '), `(${left.text}) t`, kind, `(${right.text}) u`, 'on', on)
}
