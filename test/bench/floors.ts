// The floors: what this machine's Postgres does when a call is three bare statements, and its HTTP when it is an echo.
import { randomUUID } from 'node:crypto'
import { Pool } from 'pg'

const TABLE = `create table if not exists floor_job (
  id uuid primary key, queue text not null, args bytea, status int2 not null default 0, result bytea,
  created_at timestamptz not null default now(), claimed_at timestamptz, done_at timestamptz)`
const INDEX = `create index if not exists floor_pending on floor_job (queue, created_at) where status = 0`
const INSERT = `insert into floor_job (id, queue, args) values ($1, $2, $3)`
const CLAIM = `update floor_job set status = 1, claimed_at = now() where id in (
  select id from floor_job where queue = $1 and status = 0 order by created_at limit 1 for update skip locked
) returning id, args`
const COMPLETE = `update floor_job set status = 2, result = $2, done_at = now() where id = $1 and status = 1`

export interface Floor {
  /** Insert, claim, complete. */
  call(): Promise<void>
  insert(): Promise<void>
  insertMany(count: number): Promise<void>
  /** Claims and completes one, as long as there are any. */
  drainOne(): Promise<void>
  close(): Promise<void>
}

/** Three statements that each commit, by name, over a pool of ten. */
export async function threeStatements(databaseUrl: string): Promise<Floor> {
  const pool = new Pool({ connectionString: databaseUrl, max: 10 })
  await pool.query(TABLE)
  await pool.query(INDEX)
  const args = Buffer.from([1])
  const insert = async (queue: string) => {
    await pool.query({ name: 'insert', text: INSERT, values: [randomUUID(), queue, args] })
  }
  const claimAndComplete = async (queue: string) => {
    const { rows } = await pool.query<{ id: string }>({ name: 'claim', text: CLAIM, values: [queue] })
    if (rows[0] !== undefined) await pool.query({ name: 'complete', text: COMPLETE, values: [rows[0].id, args] })
  }
  return {
    async call() {
      await insert('call')
      await claimAndComplete('call')
    },
    insert: () => insert('drain'),
    async insertMany(count) {
      await pool.query(
        `insert into floor_job (id, queue, args) select gen_random_uuid(), 'drain', $2 from generate_series(1, $1)`,
        [count, args],
      )
    },
    drainOne: () => claimAndComplete('drain'),
    close: () => pool.end(),
  }
}
