// What clients watch while everything around them is killed, and what SQL says of it once all is quiet.
import type { Sql } from '../../../src/db/sql.ts'
import { count } from '../../../src/protocol/aggregation.ts'
import { from } from '../../../src/protocol/from.ts'
import type { Plan } from '../../../src/protocol/plan.ts'

export const FUNCTIONS = ['hello', 'bye', 'again', 'never', 'maybe'] as const

/** A relation of the clients' own: whose function it is. The last one holds. */
export const OWNERS = {
  name: 'owners',
  columns: { function: 'text', owner: 'text' },
  options: { semantics: 'last_write_wins', key: ['function'] },
} as const

/** Each holds about as much at the end as at the beginning, since jobs are forgotten. */
export const PLANS: Record<string, Plan> = {
  states: from('jobs').groupBy('function', 'state').count().plan,
  first: from('jobs').where({ state: 'pending' }).select('id', 'function').orderBy('id').limit(10).plan,
  lately: from('jobs').window('created_at', 3_000).groupBy('function').aggregate({ calls: count() }).plan,
  owned: from('jobs')
    .where({ state: 'failed' })
    .select('id', 'function')
    .join(from(OWNERS.name, OWNERS.columns), { on: 'function' })
    .groupBy('owner')
    .count().plan,
  kinds: from('jobs').select('function', 'state', 'failure').distinct().plan,
  waiting: from('jobs').where({ state: 'pending', function: 'hello' }).select('id').plan,
  divided: from('jobs').groupBy('function', 'state').count().plan,
}
export const NAMES = Object.keys(PLANS)
/** Those that the peers share. */
export const SHARDS: Record<string, number> = { divided: 3 }

/** The same in SQL, values in the order of the columns. Nothing is as young as the window is long. */
export async function rowsBySql(
  sql: Sql,
  namespace: string,
  owners: ReadonlyMap<string, string>,
): Promise<Record<string, string[]>> {
  const ask = async (text: string, ...params: string[][]): Promise<string[]> =>
    textsOf(await sql(text, [namespace, ...params]))
  const states = await ask(
    /* sql */ `select function, state, count(*) as count from callplane.jobs where namespace = $1 group by function, state`,
  )
  return {
    states,
    divided: states,
    first: await ask(/* sql */ `
      select id, function from callplane.jobs where namespace = $1 and state = 'pending' order by id limit 10`),
    lately: [],
    owned: await ask(
      /* sql */ `
      select o.owner, count(*) as count
      from callplane.jobs j join unnest($2::text[], $3::text[]) as o (function, owner) on o.function = j.function
      where j.namespace = $1 and j.state = 'failed'
      group by o.owner`,
      [...owners.keys()],
      [...owners.values()],
    ),
    kinds: await ask(/* sql */ `select distinct function, state, failure from callplane.jobs where namespace = $1`),
    waiting: await ask(
      /* sql */ `select id from callplane.jobs where namespace = $1 and state = 'pending' and function = 'hello'`,
    ),
  }
}

/** A row as text: its values alone. */
export function textOf(row: object): string {
  return JSON.stringify(Object.values(row))
}

export function textsOf(rows: readonly object[]): string[] {
  return rows.map(textOf).toSorted()
}
