// Peers whose processes are killed: the others tell of each of them, once, and its clients find another one.
import { expect, onTestFinished, test } from 'vitest'
import { enqueueJobs } from '../../src/jobs/enqueue.ts'
import { from } from '../../src/protocol/from.ts'
import type { PeerListed } from '../../src/protocol/peers.ts'
import { callplane } from '../support/cli.ts'
import { migratedDatabase } from '../support/fresh-database.ts'
import { aCall } from '../support/wire.ts'
import type { WireClient } from './client.ts'
import { keyOf, planeOfTest, type PlaneProcess } from './processes.ts'

/** Renewed after a second, and judged by who renewed within four. */
const LEASE_MS = 6_000
const PATIENCE = { timeout: 50_000, interval: 50 }

const { url, database } = await migratedDatabase({ max: 4 })
interface Watched {
  plane: PlaneProcess
  client: WireClient
  /** The id of the peer. */
  peer: string
}

async function watched(key: string): Promise<Watched> {
  const plane = await planeOfTest(url, { peerLeaseMs: LEASE_MS })
  const client = await plane.connect(key)
  const status = await client.ask('Status')
  return { plane, client, peer: 'Status' in status ? status.Status[1].peer : '' }
}

const announced = (namespace: string) =>
  database.sql<{ peer: string }>(
    `select command -> 'command' -> 'PeerGone' ->> 'peer' as peer from callplane.events
     where namespace = $1 and command -> 'command' ? 'PeerGone' order by at`,
    [namespace],
  )

/** How often each of these peers has renewed its lease, at least: as often as its row was seen to be another. */
async function renewals(peers: readonly Watched[], times: number): Promise<void> {
  for (const { peer } of peers) {
    const seen = new Set<string>()
    await expect
      .poll(async () => {
        const [row] = await database.sql<{ at: string }>(
          'select seen_at::text as at from callplane.peers where id = $1::uuid',
          [peer],
        )
        return row === undefined ? 0 : seen.add(row.at).size
      }, PATIENCE)
      .toBeGreaterThan(times)
  }
}

async function listed(url: string, key: string): Promise<string[]> {
  const { output } = await callplane(['peers', '--json'], { CALLPLANE_URL: url, CALLPLANE_KEY: key }).exit
  return (JSON.parse(output) as PeerListed[]).map(({ id }) => id) // what the command prints
}

test('of peers that were killed each is announced once, and listed no more; their clients go on at those that live', async () => {
  const namespace = 'gone'
  const key = await keyOf(database.sql, namespace)
  const all = await Promise.all(Array.from({ length: 4 }, () => watched(key)))
  const [first, second, ...rest] = all as [Watched, Watched, ...Watched[]] // four
  const { plan } = from('jobs').groupBy('state').count()
  for (const { client } of all) {
    await expect.poll(() => client.ask('Register', { name: 'states', plan })).toHaveProperty('Ok')
    await client.ask('Interest', { name: 'states' })
  }
  // Nobody pokes them: what is written here, they read.
  const over = new AbortController()
  onTestFinished(() => over.abort())
  const write = async (): Promise<number> => {
    for (let count = 1; ; count++) {
      await enqueueJobs(database.sql, namespace, [await aCall()], { retentionMs: 86_400_000 })
      await new Promise((resolve) => setTimeout(resolve, 100))
      if (over.signal.aborted) return count
    }
  }
  const writing = write()
  await renewals(all, 1)
  expect((await listed(first.plane.url, key)).toSorted()).toEqual(all.map(({ peer }) => peer).toSorted())

  await Promise.all([first.plane.kill(), second.plane.kill()])
  const [survivor] = rest as [Watched, ...Watched[]]
  for (const { client } of [first, second]) {
    await expect.poll(() => client.isClosed).toBe(true)
    const tick = client.results.get('states')?.tick
    const known = structuredClone(client.results.get('states'))
    const back = await survivor.plane.connect(key)
    if (known !== undefined) back.results.set('states', known)
    expect(await back.ask('Interest', { name: 'states', from: tick })).toHaveProperty('Ok')
    await expect.poll(() => back.rows('states'), PATIENCE).not.toEqual(client.rows('states'))
    expect(back.of('states').some((frame) => 'Snapshot' in frame || 'Reset' in frame)).toBe(false)
  }
  await expect.poll(() => announced(namespace), PATIENCE).toHaveLength(2)
  // Whoever else noticed has had its turn by then.
  await renewals(rest, 2)
  over.abort()
  const count = await writing
  const gone = (await announced(namespace)).map(({ peer }) => peer)
  expect(gone.toSorted()).toEqual([first.peer, second.peer].toSorted())
  expect((await listed(survivor.plane.url, key)).toSorted()).toEqual(rest.map(({ peer }) => peer).toSorted())
  for (const { client } of rest) await expect.poll(() => client.rows('states')).toEqual([{ state: 'pending', count }])
})
