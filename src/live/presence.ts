// Which peers have clients in a namespace: each holds a lease on a row, renews it while something happens, and is announced as
// gone by the others where it does not.
//
//   poked ── renew ── poked ── renew ── … ── idle: nobody renews, nobody is missed
//     └── one that was poked as well, and whose lease has run out since ──▶ PeerGone, once, in the log
import type { Sql } from '../db/sql.ts'

const LEASE_MS = 30_000
/** Of a lease. */
const RENEW_AFTER = 1 / 6
/** Who renewed so lately was poked less than a lease ago, and so was everybody else: had they lived, they would have renewed. */
const JUDGE_WITHIN = 2 / 3

/** How a peer does for one namespace. */
export interface Load {
  tick: number
  clients: number
  slowClients: number
  queries: number
  rows: number
}

/** When it renews. */
export interface PresenceTimes {
  /** Default 30 s. */
  leaseMs?: number | undefined
  /** It is awake all the time anyway, and so renews while the log goes on, also where nobody pokes it. Default: it sleeps. */
  isAwake?: boolean | undefined
}

export interface PresenceOptions extends PresenceTimes {
  sql: Sql
  namespace: string
  peer: string
  load: () => Load
  /** Before a commit: all are to look for it. */
  arm: () => Promise<void>
  /** Default `performance.now`. */
  now?: () => number
}

export class Presence {
  readonly #options: PresenceOptions
  #isPoked = true
  /** When it tried to renew last, and when it last did. */
  #triedAtMs = -Infinity
  #renewedAtMs = -Infinity
  #renewing: Promise<void> = Promise.resolve()
  /** One at a time: what an earlier one says must not come after what a later one says. */
  #isRenewing = false
  /** Ticks between the log's head and this peer, when it renewed last. */
  lag = 0

  constructor(options: PresenceOptions) {
    this.#options = options
  }

  /** It is to renew, at its time. */
  get isPoked(): boolean {
    return this.#isPoked
  }

  /** Something happens, of which every peer has heard. */
  poked(): void {
    this.#isPoked = true
  }

  /** The log has gone on, at every peer. */
  stepped(): void {
    if (this.#options.isAwake === true) this.#isPoked = true
  }

  /** One was announced as gone. If it is this one, it lives all the same, and says so. */
  gone(peer: string): void {
    if (peer !== this.#options.peer) return
    this.#isPoked = true
    this.#triedAtMs = -Infinity
    this.#renewedAtMs = -Infinity
  }

  /** Once a second. */
  async turn(): Promise<void> {
    const { now = () => performance.now(), leaseMs = LEASE_MS } = this.#options
    const nowMs = now()
    if (!this.#isPoked || this.#isRenewing || nowMs - this.#triedAtMs < leaseMs * RENEW_AFTER) return
    this.#isPoked = false
    this.#isRenewing = true
    this.#triedAtMs = nowMs
    this.#renewing = this.#renew({ nowMs, leaseMs })
    await this.#renewing
  }

  /** Its row goes; a renewal that is on its way is the last. */
  async leave(): Promise<void> {
    const { sql, namespace, peer } = this.#options
    await this.#renewing.catch(() => {})
    await sql(/* sql */ `delete from callplane.peers where namespace = $1 and id = $2::uuid`, [namespace, peer])
  }

  async #renew({ nowMs, leaseMs }: { nowMs: number; leaseMs: number }): Promise<void> {
    const { sql, namespace, peer, load, arm } = this.#options
    const mayJudge = nowMs - this.#renewedAtMs <= leaseMs * JUDGE_WITHIN
    try {
      const { lag, hasLost } = await renewPeer(sql, namespace, peer, { ...load(), leaseMs })
      this.#renewedAtMs = nowMs
      this.lag = lag
      if (!hasLost || !mayJudge) return
      await arm()
      await announceLost(sql, namespace, peer)
    } catch (error) {
      this.#isPoked = true
      throw error
    } finally {
      this.#isRenewing = false
    }
  }
}

/** `hasLost`: the leases of others have run out. */
export async function renewPeer(
  sql: Sql,
  namespace: string,
  peer: string,
  { leaseMs, tick, clients, slowClients, queries, rows }: Load & { leaseMs: number },
): Promise<{ lag: number; hasLost: boolean }> {
  const [row] = await sql<{ lag: number; has_lost: boolean }>(
    /* sql */ `
    with renewed as (
      insert into callplane.peers (namespace, id, expires_at, tick, lag, clients, slow_clients, queries, state_rows)
      select $1, $2::uuid, now() + $3::int8 * interval '1 millisecond', $4::int8, greatest(h.tick - $4::int8, 0),
        $5::int8, $6::int8, $7::int8, $8::int8
      from callplane.heads h where h.namespace = $1
      on conflict (namespace, id) do update
        set seen_at = now(), expires_at = excluded.expires_at, tick = excluded.tick, lag = excluded.lag,
          clients = excluded.clients, slow_clients = excluded.slow_clients, queries = excluded.queries,
          state_rows = excluded.state_rows
      returning lag
    )
    select lag, exists (
      select 1 from callplane.peers where namespace = $1 and id <> $2::uuid and expires_at <= now()
    ) as has_lost
    from renewed`,
    [namespace, peer, leaseMs, tick, clients, slowClients, queries, rows],
  )
  return { lag: row?.lag ?? 0, hasLost: row?.has_lost ?? false }
}

/** One of those who notice announces it: the row goes with the command's coming. How many there were. */
export async function announceLost(sql: Sql, namespace: string, peer: string): Promise<number> {
  const rows = await sql(
    /* sql */ `
    with lost as (
      delete from callplane.peers
      where namespace = $1 and id <> $2::uuid and expires_at <= now()
      returning id
    )
    insert into callplane.events (namespace, subject_id, command, is_last)
    select $1, id, jsonb_build_object('command', jsonb_build_object('PeerGone', jsonb_build_object('peer', id::text))), true
    from lost
    returning subject_id`,
    [namespace, peer],
  )
  return rows.length
}
