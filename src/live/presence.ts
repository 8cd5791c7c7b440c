// Which peers have clients in a namespace, or share its queries: each holds a lease on a row, renews it while something happens,
// and is announced as gone by the others where it does not.
//
//   poked ── renew ── poked ── renew ── … ── idle: nobody renews, nobody is missed
//     └── one that was poked as well, and whose lease has run out since ──▶ PeerGone, once, in the log
import type { Sql } from '../db/sql.ts'
import { isGood, newSecret } from './ticket.ts'

export const LEASE_MS = 30_000
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
  bytes: number
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
  /** Where others reach it over HTTP; null: they do not. */
  address?: () => string | null
  /** Before a commit: all are to look for it. */
  arm: () => Promise<void>
  /** Default `performance.now`. */
  now?: () => number
}

/** How another peer is reached, and what lets a peer in there. */
export interface Neighbour {
  address: string
  secret: string
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
  /** Those that can be reached, by their ids, less those that have gone since. */
  others: ReadonlyMap<string, Neighbour> = new Map()
  readonly #secret = newSecret()
  /** The database's clock less `performance.now()`, or a little less; null: not known yet. */
  #aheadMs: number | null = null

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
    this.others = new Map([...this.others].filter(([id]) => id !== peer))
    if (peer !== this.#options.peer) return
    this.#isPoked = true
    this.#triedAtMs = -Infinity
    this.#renewedAtMs = -Infinity
  }

  /** Once it has renewed. */
  get databaseNowMs(): number {
    return performance.now() + (this.#aheadMs ?? 0)
  }

  /** Whether another peer that brings this may ask for pieces of queries. */
  async admits(ticket: string): Promise<boolean> {
    const { namespace } = this.#options
    return (
      this.#aheadMs !== null && (await isGood(ticket, { namespace, secret: this.#secret, nowMs: this.databaseNowMs }))
    )
  }

  /** Now, to know who else is there. */
  async renew(): Promise<void> {
    const { now = () => performance.now() } = this.#options
    while (this.#isRenewing) await this.#renewing.catch(() => {})
    await this.#begin(now(), { isPoked: false })
  }

  /** Once a second. */
  async turn(): Promise<void> {
    const { now = () => performance.now(), leaseMs = LEASE_MS } = this.#options
    const nowMs = now()
    if (!this.#isPoked || this.#isRenewing || nowMs - this.#triedAtMs < leaseMs * RENEW_AFTER) return
    this.#isPoked = false
    this.#triedAtMs = nowMs
    await this.#begin(nowMs, { isPoked: true })
  }

  /** Its row goes; a renewal that is on its way is the last. */
  async leave(): Promise<void> {
    const { sql, namespace, peer } = this.#options
    await this.#renewing.catch(() => {})
    await sql(/* sql */ `delete from callplane.peers where namespace = $1 and id = $2::uuid`, [namespace, peer])
  }

  /** Whoever calls has seen that none is on its way. */
  #begin(startedAtMs: number, { isPoked }: { isPoked: boolean }): Promise<void> {
    this.#isRenewing = true
    this.#renewing = this.#renew(startedAtMs, { isPoked })
    return this.#renewing
  }

  /** Where it was not poked, nor were the others: nothing follows from their silence, now or at its next renewal. */
  async #renew(startedAtMs: number, { isPoked }: { isPoked: boolean }): Promise<void> {
    const { sql, namespace, peer, load, arm, leaseMs = LEASE_MS, address: addressOf = () => null } = this.#options
    const mayJudge = isPoked && startedAtMs - this.#renewedAtMs <= leaseMs * JUDGE_WITHIN
    const address = addressOf()
    const own = { leaseMs, address, secret: address === null ? null : this.#secret }
    try {
      const renewed = await renewPeer(sql, namespace, peer, { ...load(), ...own })
      // It was poked before it had begun: it tries again with the next turn.
      if (renewed === null) {
        this.#isPoked = true
        this.#triedAtMs = -Infinity
        return
      }
      const { lag, hasLost, nowMs, others } = renewed
      if (isPoked) this.#renewedAtMs = startedAtMs
      this.lag = lag
      this.others = others
      this.#aheadMs = nowMs - performance.now()
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

/**
 * `hasLost`: the leases of others have run out. `others`: those that can be reached. One that sleeps is among them, whose lease
 * has run out, since nothing happened that it would have renewed it for: until it is announced as gone, it may be there. Null:
 * nobody has begun to watch the namespace.
 */
export async function renewPeer(
  sql: Sql,
  namespace: string,
  peer: string,
  {
    leaseMs,
    address = null,
    secret = null,
    tick,
    clients,
    slowClients,
    queries,
    rows,
    bytes,
  }: Load & { leaseMs: number; address?: string | null; secret?: string | null },
): Promise<{ lag: number; hasLost: boolean; nowMs: number; others: Map<string, Neighbour> } | null> {
  type PeerRow = {
    lag: number
    has_lost: boolean
    now_ms: number
    id: string | null
    address: string | null
    secret: string | null
  }
  const found = await sql<PeerRow>(
    /* sql */ `
    with renewed as (
      insert into callplane.peers (namespace, id, expires_at, tick, lag, clients, slow_clients, queries, state_rows,
        address, secret, state_bytes)
      select $1, $2::uuid, now() + $3::int8 * interval '1 millisecond', $4::int8, greatest(h.tick - $4::int8, 0),
        $5::int8, $6::int8, $7::int8, $8::int8, $9, $10, $11::int8
      from callplane.heads h where h.namespace = $1
      on conflict (namespace, id) do update
        set seen_at = now(), expires_at = excluded.expires_at, tick = excluded.tick, lag = excluded.lag,
          clients = excluded.clients, slow_clients = excluded.slow_clients, queries = excluded.queries,
          state_rows = excluded.state_rows, address = excluded.address, secret = excluded.secret,
          state_bytes = excluded.state_bytes
      returning namespace, lag
    )
    select r.lag, floor(extract(epoch from now()) * 1000)::int8 as now_ms, exists (
      select 1 from callplane.peers where namespace = $1 and id <> $2::uuid and expires_at <= now()
    ) as has_lost, p.id, p.address, p.secret
    from renewed r
    left join callplane.peers p on p.namespace = $1 and p.id <> $2::uuid and p.address is not null`,
    [namespace, peer, leaseMs, tick, clients, slowClients, queries, rows, address, secret, bytes],
  )
  const others = found.flatMap(({ id, address, secret }): [string, Neighbour][] =>
    id === null || address === null || secret === null ? [] : [[id, { address, secret }]],
  )
  const [row] = found
  if (row === undefined) return null
  return { lag: row.lag, hasLost: row.has_lost, nowMs: row.now_ms, others: new Map(others) }
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
