// The peers of a run, each a plane in a process of its own, which can be killed and started again at its place.
import { once } from 'node:events'
import { COMPILED } from '../../support/compiled.ts'
import { freePort } from '../../support/free-port.ts'
import type { FromPlane, LivePlaneOptions, PeerState, Question, Vitals } from '../../support/live-plane.ts'
import type { Started } from '../processes.ts'
import { expectThat } from '../scenario.ts'
import { pause, type Stage } from '../stage.ts'

const PLANE = new URL('../../support/live-plane.ts', import.meta.url).pathname
/** Shorter than usual, so that a short run sees it out; longer than Postgres needs to come back. */
const LEASE_MS = 15_000

/**
 * It lives as long as the run, so that its memory can be measured, and so it must not be the one that gives the ticks: who
 * does is killed. For it, the row of who does is always another's.
 */
export const WITNESS = 'witness'
const WITNESS_NEVER_STAMPS = [
  `create function public.leave_out() returns trigger language plpgsql as 'begin return null; end'`,
  `create trigger witness_never_stamps before update on callplane.heads for each row
   when (new.epoch <> old.epoch and current_setting('application_name') = '${WITNESS}')
   execute function public.leave_out()`,
]

interface LivePeer {
  name: string
  url: string
  /** Its id among the peers. */
  id: string
  process: Started
  asked: Promise<unknown>
}

export class LivePeers {
  readonly #stage: Stage
  readonly #all = new Map<string, LivePeer>()
  /** Ids of those that others had heard of when they were killed, with how often they had been announced while they lived. */
  readonly killed = new Map<string, number>()
  /** And of those of which somebody may have heard: they had just begun. */
  readonly #killedYoung = new Set<string>()
  /** By id: when it was announced as gone. */
  readonly #announced = new Map<string, Set<string>>()

  private constructor(stage: Stage) {
    this.#stage = stage
  }

  static async open(stage: Stage, names: readonly string[]): Promise<LivePeers> {
    for (const statement of WITNESS_NEVER_STAMPS) await stage.sql(statement)
    const peers = new LivePeers(stage)
    await Promise.all(names.map((name) => peers.#start(name)))
    return peers
  }

  get names(): string[] {
    return [...this.#all.keys()]
  }

  /** Of those that are killed, the ones that live. */
  get urls(): string[] {
    const others = [...this.#all.values()].filter(({ name }) => name !== WITNESS)
    return others.filter(({ process }) => !process.hasEnded).map(({ url }) => url)
  }

  urlOf(name: string): string {
    return this.#all.get(name)?.url ?? ''
  }

  async #start(name: string, port?: number): Promise<void> {
    const databaseUrl = new URL(this.#stage.databaseUrl)
    // As its connections are called in the database.
    databaseUrl.searchParams.set('application_name', name)
    const options: LivePlaneOptions = { port: port ?? Number(await freePort()), peerLeaseMs: LEASE_MS }
    const args = [databaseUrl.href, JSON.stringify(options)]
    const process = this.#stage.processes.start(`peer ${name}`, PLANE, args, { env: COMPILED, hasChannel: true })
    const told = await answerOf(process)
    if (!('url' in told)) throw new Error(`${name} did not say where it is`)
    this.#all.set(name, { name, url: told.url, id: told.peer, process, asked: Promise.resolve() })
  }

  /** Kills one, and starts another at its place. */
  async kill(name: string): Promise<void> {
    const peer = this.#all.get(name)
    if (peer === undefined) return
    await peer.process.end('SIGKILL')
    this.#stage.fault(`peer ${name} killed`)
    await this.notice()
    // Its row is there, so that what was announced before was so while it lived.
    if (await this.#isListed(peer.id)) this.killed.set(peer.id, this.#timesAnnounced(peer.id))
    else this.#killedYoung.add(peer.id)
    await this.#start(name, Number(new URL(peer.url).port))
  }

  /** Who gives the ticks: whose connection has tried it last. */
  async stamper(): Promise<string> {
    for (;;) {
      const [row] = await this.#stage.sql<{ name: string }>(
        `select application_name as name from pg_stat_activity
         where datname = current_database() and query like '%where namespace = $1 and epoch = $2::int8 and holder%'
           and application_name = any($1::text[])
         order by query_start desc limit 1`,
        [this.names],
      )
      if (row !== undefined) return row.name
      await pause(100)
    }
  }

  /** Looks who was announced as gone since it looked last. */
  async notice(): Promise<void> {
    const rows = await this.#stage.sql<{ peer: string; at: string }>(
      `select command -> 'command' -> 'PeerGone' ->> 'peer' as peer, at::text as at from callplane.events
       where namespace = $1 and command is not null and command -> 'command' ? 'PeerGone'`,
      [this.#stage.tenant.namespace],
    )
    for (const { peer, at } of rows) this.#announced.set(peer, (this.#announced.get(peer) ?? new Set()).add(at))
  }

  #timesAnnounced(id: string): number {
    return this.#announced.get(id)?.size ?? 0
  }

  /** Resolves once every peer that was killed was announced, or the time is over. */
  async noticed(withinMs: number): Promise<void> {
    const untilMs = performance.now() + withinMs
    const isMissing = () => [...this.killed].some(([id, before]) => this.#timesAnnounced(id) === before)
    for (await this.notice(); isMissing() && performance.now() < untilMs; await this.notice()) await pause(200)
  }

  /** Sentences on those that were announced too often, or not at all; and how many were that live. */
  async announcements(): Promise<{ faults: string[]; alive: number }> {
    const living = new Set([...this.#all.values()].map(({ id }) => id))
    const rows = await this.#stage.sql<{ id: string }>('select id from callplane.peers where namespace = $1', [
      this.#stage.tenant.namespace,
    ])
    const listed = rows.filter(({ id }) => !living.has(id))
    const wrong = [...this.killed].flatMap(([id, before]) => {
      const times = this.#timesAnnounced(id) - before
      return expectThat(times === 1, `${id} was killed, and announced as gone ${times} times`)
    })
    const ofKilled = [...this.killed.values()].reduce((sum, times) => sum + times, 0)
    const ofLiving = [...living].reduce((sum, id) => sum + this.#timesAnnounced(id), 0)
    return {
      faults: [...wrong, ...expectThat(listed.length === 0, `${listed.length} peers are listed that do not live`)],
      alive: ofKilled + ofLiving,
    }
  }

  async #isListed(id: string): Promise<boolean> {
    const { sql } = this.#stage
    return (await sql('select 1 from callplane.peers where id = $1::uuid', [id])).length > 0
  }

  async vitalsOf(name: string): Promise<Vitals> {
    const told = await this.#ask(name, { vitalsOf: this.#stage.tenant.namespace })
    if ('vitals' in told) return told.vitals
    throw new Error(`${name} answered something else`)
  }

  async stateOf(name: string, names: readonly string[]): Promise<PeerState | null> {
    const told = await this.#ask(name, { namespace: this.#stage.tenant.namespace, names })
    return 'state' in told ? told.state : null
  }

  /** One question at a time. */
  #ask(name: string, question: Question): Promise<FromPlane> {
    const peer = this.#all.get(name)
    if (peer === undefined) throw new Error(`there is no peer ${name}`)
    const answer = peer.asked.then(() => {
      const told = answerOf(peer.process)
      peer.process.process.send(question)
      return told
    })
    peer.asked = answer.catch(() => {})
    return answer
  }
}

async function answerOf({ process, exited, name }: Started): Promise<FromPlane> {
  const message = once(process, 'message') as Promise<[FromPlane]> // what live-plane.ts sends
  const ended = exited.then(() => Promise.reject(new Error(`${name} ended`)))
  ended.catch(() => {})
  const [told] = await Promise.race([message, ended])
  return told
}
