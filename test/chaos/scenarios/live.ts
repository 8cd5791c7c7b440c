// Live queries while peers are killed, the one that gives the ticks is killed, and Postgres loses its power, in turn.
//
//   producer ── thousands of events a second ──▶ Postgres ──▶ peers a, b, witness ──▶ clients of the wire and of the SDK
//                                                   ✗            ✗  ✗
//
// At the end every client holds what SQL says, and on the way any two that came to one tick held the same there.
import { cancelJobs } from '../../../src/jobs/cancel.ts'
import { Ledger } from '../live/ledger.ts'
import { Memory } from '../live/memory.ts'
import { Owners } from '../live/owners.ts'
import { LivePeers, WITNESS } from '../live/peers.ts'
import { NAMES, PLANS, SHARDS, rowsBySql } from '../live/queries.ts'
import { SdkWatcher } from '../live/sdk-watcher.ts'
import { Watcher } from '../live/watcher.ts'
import type { Started } from '../processes.ts'
import { expectThat, type Scenario } from '../scenario.ts'
import { pause, type Stage } from '../stage.ts'

const MINUTES = 10
/** By then as many jobs are forgotten as are made, which belongs to what the producer does. */
const WARM_UP_MS = 25_000
const FAULT_EVERY_MS = 5_000
const EVENTS_PER_SECOND = 5_000
/** That go on at another peer when their own is killed. */
const CLIENTS = 3
/** A job that was claimed as Postgres went down is another's when its lease has run out. */
const PATIENCE_MS = 90_000

const PRODUCER = new URL('../live/producer.ts', import.meta.url).pathname

export const live: Scenario = {
  name: 'live',
  about: `live queries of ${EVENTS_PER_SECOND} events a second, while peers, the stamper and Postgres are killed in turn`,
  leastCalls: 0,

  async play(stage) {
    const { namespace, key } = stage.tenant
    const peers = await LivePeers.open(stage, ['a', 'b', WITNESS])
    const ledger = new Ledger()
    let turn = 0
    const url = () => peers.urls[turn++ % peers.urls.length] ?? ''
    // One that watches nothing makes what the others watch, at a peer that may give the ticks.
    const maker = new Watcher({ name: 'the maker', url: () => peers.urlOf('a'), key, ledger, names: [] })
    const owners = await Owners.begin(maker)
    for (const [name, plan] of Object.entries(PLANS)) await maker.ask('Register', { name, plan, shards: SHARDS[name] })
    const watched = { url, key, ledger, names: NAMES }
    const clients = [
      ...Array.from({ length: CLIENTS }, (_, n) => new Watcher({ name: `client ${n}`, ...watched })),
      new Watcher({ ...watched, name: 'the client of the witness', url: () => peers.urlOf(WITNESS) }),
    ]
    const sdk = ['a', 'b'].map((of) => new SdkWatcher({ name: `SDK at ${of}`, url: peers.urlOf(of), key, ledger }))
    const args = [stage.databaseUrl, namespace, String(EVENTS_PER_SECOND)]
    const producer = stage.processes.start('the producer', PRODUCER, args, { env: {} })
    const memory = new Memory(peers)
    await pause(WARM_UP_MS)

    const before = { events: eventsOf(producer), atMs: performance.now() }
    const faults = stage.size((MINUTES * 60_000) / FAULT_EVERY_MS, 3)
    for (let fault = 0; fault < faults; fault++) {
      await FAULTS[fault % FAULTS.length]?.(stage, peers)
      await peers.notice()
      const done = `${fault + 1} faults, ${eventsOf(producer)} events, ${ledger.confirmed} states compared`
      if (fault % 12 === 11) stage.say(`${done}, ${ledger.disagreements.length} differ`)
      await pause(Math.max(0, before.atMs + (fault + 1) * FAULT_EVERY_MS - performance.now()))
    }
    await peers.noticed(PATIENCE_MS)
    const eventsPerSecond = ((eventsOf(producer) - before.events) / (performance.now() - before.atMs)) * 1_000
    await Promise.all([owners.stop(), memory.stop()])
    producer.isDoomed = true
    producer.process.kill('SIGTERM')
    const isDrained = await Promise.race([
      producer.says(/drained/).then(() => true),
      pause(PATIENCE_MS).then(() => false),
    ])

    // Those that begin now, one at each peer, get what those hold that were there all the while.
    const late = peers.names.map((of) => new Watcher({ ...watched, name: `late at ${of}`, url: () => peers.urlOf(of) }))
    const settledMs = await settled(stage, peers, [...clients, ...late])
    const expected = await rowsBySql(stage.sql, namespace, owners.held)
    const all = [...clients, ...late, ...sdk]
    const wrong = () => all.flatMap((client) => wrongRows(client, expected))
    // The SDK does not say how far it has come; one that was cut off last of all waits before it asks again.
    for (const fromMs = performance.now(); wrong().length > 0 && performance.now() - fromMs < PATIENCE_MS;)
      await pause(100)
    const wrongAtEnd = wrong()
    const states = await Promise.all(peers.names.map((name) => peers.stateOf(name, NAMES)))
    const lags = await Promise.all(peers.names.map(async (name) => (await peers.vitalsOf(name)).lag))
    const gone = await peers.announcements()
    for (const client of [...all, maker]) void client.close()
    await cancelWhatWaits(stage)
    const sum = (of: (client: Watcher) => number) => clients.reduce((total, client) => total + of(client), 0)
    const resumed = sum((client) => client.resumed)
    return () => ({
      figures: {
        faults,
        eventsPerSecond,
        diffs: sum(({ diffs }) => diffs),
        comparedStates: ledger.confirmed,
        resumed,
        begunAnew: sum(({ begunAnew }) => begunAnew),
        resets: sum(({ resets }) => resets.length),
        settledMs,
        peersGone: peers.killed.size,
        missedAlive: gone.alive,
        ...memory.figures,
      },
      failures: [
        ...expectThat(isDrained, 'not every job of the producer ended'),
        ...some(wrongAtEnd),
        ...some([...all, maker].flatMap((client) => client.faults)),
        ...some(ledger.disagreements),
        ...some(gone.faults),
        ...expectThat(
          new Set(states.map((state) => JSON.stringify(state))).size === 1,
          'the peers made different states',
        ),
        ...expectThat(
          lags.every((lag) => lag === 0),
          `the peers lag by ${lags.join(', ')} ticks`,
        ),
        ...expectThat(resumed > 0, 'nobody went on from where it was'),
        ...memory.faults,
      ],
    })
  },
}

/** Sentences on the queries of which a client does not hold what SQL says. */
function wrongRows(client: Pick<Watcher, 'name' | 'rows'>, expected: Record<string, string[]>): string[] {
  return NAMES.flatMap((query) => {
    const [held, wanted] = [client.rows(query), expected[query] ?? []]
    return expectThat(
      String(held) === String(wanted),
      `${client.name} holds other rows of ${query}: ${held.length} of ${wanted.length}`,
    )
  })
}

/** In turn. */
const FAULTS: readonly ((stage: Stage, peers: LivePeers) => Promise<void>)[] = [
  async (_, peers) => peers.kill((await peers.stamper()) === 'a' ? 'b' : 'a'),
  async (_, peers) => peers.kill(await peers.stamper()),
  async (stage) => {
    await stage.postgres.kill()
    stage.fault('the power of Postgres cut')
    await stage.postgres.start()
    void vacuum(stage)
  },
]

/**
 * With its power Postgres loses what it knew of dead rows, so that its own vacuum never comes to tables that are cut off each
 * 15 s: they would grow for as long as the run goes on. Never rejects: the next cut ends it, and then comes the next.
 */
async function vacuum({ sql }: Stage): Promise<void> {
  for (const table of ['events', 'jobs', 'attempts', 'heads', 'peers']) {
    await sql(`vacuum (analyze) callplane.${table}`).catch(() => {})
  }
}

/** How many the producer says that were acknowledged. */
function eventsOf({ output }: Started): number {
  return Number([...output.matchAll(/(\d+) events/g)].at(-1)?.[1] ?? 0)
}

/** Resolves once everybody has heard of everything, or the time is over: what is compared then tells which. In how many ms. */
async function settled(stage: Stage, peers: LivePeers, clients: readonly Watcher[]): Promise<number> {
  const fromMs = performance.now()
  const isSettled = async (): Promise<boolean> => {
    const [head] = await stage.sql<{ tick: number; unstamped: number }>(
      `select tick, (select count(*) from callplane.events where namespace = $1 and tick is null) as unstamped
       from callplane.heads where namespace = $1`,
      [stage.tenant.namespace],
    )
    const hasAll = clients.every((client) => client.tick === head?.tick && client.rows('lately').length === 0)
    const vitals = await Promise.all(peers.names.map((name) => peers.vitalsOf(name)))
    return hasAll && head?.unstamped === 0 && vitals.every(({ tick, lag }) => tick === head.tick && lag === 0)
  }
  while (!(await isSettled()) && performance.now() - fromMs < PATIENCE_MS) await pause(100)
  return performance.now() - fromMs
}

/** What waits for nobody would be found to be stuck. */
async function cancelWhatWaits({ sql, tenant: { namespace } }: Stage): Promise<void> {
  const rows = await sql<{ id: string }>(
    `select id from callplane.jobs where namespace = $1 and state in ('pending', 'running')`,
    [namespace],
  )
  const ids = rows.map(({ id }) => id)
  if (ids.length > 0) await cancelJobs(sql, { namespace, services: null }, ids, 'the run is over')
}

/** Hundreds would say no more. */
function some(sentences: readonly string[]): string[] {
  return sentences.length <= 5 ? [...sentences] : [...sentences.slice(0, 5), `and ${sentences.length - 5} more`]
}
