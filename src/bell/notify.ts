// LISTEN and NOTIFY as the channel between processes. Only Postgres itself has them: CockroachDB does not, and a pooler that
// shares connections takes the LISTEN and delivers nothing.
import type { PgDatabase } from '../db/pg.ts'
import type { Channel } from './shared.ts'

const CHANNEL = 'callplane'
/** By it, processes that listen are counted. */
const APPLICATION = 'callplane bell'
/** A connection on which our own NOTIFY does not come back by then delivers none. */
const PROVEN_WITHIN_MS = 2_000

export function notifyChannel({ sql, connect }: Pick<PgDatabase, 'sql' | 'connect'>): Channel {
  const send = async (text: string) => {
    await sql(/* sql postgres */ `select pg_notify($1, $2)`, [CHANNEL, text])
  }

  return {
    send,

    async listen(onText, onLost) {
      const client = await connect()
      const proof = crypto.randomUUID()
      const proven = Promise.withResolvers<void>()
      // It can fail before anybody waits for it.
      proven.promise.catch(() => {})
      client.on('notification', ({ payload = '' }) => {
        if (payload === proof) proven.resolve()
        else if (payload.startsWith('{')) onText(payload)
      })
      const lost = () => proven.reject(new Error('the connection that listens was lost'))
      client.on('error', lost).once('end', lost)
      const timer = setTimeout(() => proven.reject(new Error('no NOTIFY arrives')), PROVEN_WITHIN_MS)
      try {
        await client.query(`set application_name = '${APPLICATION}'`)
        await client.query(`listen ${CHANNEL}`)
        await send(proof)
        await proven.promise
      } catch (error) {
        await client.end().catch(() => {})
        throw error
      } finally {
        clearTimeout(timer)
      }
      client.once('end', onLost)
      return async () => {
        client.off('end', onLost)
        await client.end()
      }
    },

    async countListeners() {
      const [row] = await sql<{ count: number }>(
        /* sql postgres */ `
        select count(*) as count from pg_stat_activity where datname = current_database() and application_name = $1`,
        [APPLICATION],
      )
      return row?.count ?? 0
    },
  }
}
