// A sequencer on Cloudflare and a stamper on Node over one database: the lease of the head fences both.
import { expect, test } from 'vitest'
import { readLog, type Entry } from '../../src/live/log.ts'
import { stampEvents, takeHead, type Stamper } from '../../src/live/stamp.ts'
import { byState, enqueue } from './peer-suite.ts'
import { newStage, type ObjectStage } from './stage.workerd.ts'

const ROUNDS = 4
const LIMIT = 5_000
const PATIENCE = { timeout: 15_000, interval: 5 }

/** What has been stamped, by tick, as a process on Node does it: with the lease of a stamper that may be the next to go. */
class NodeStamper {
  readonly stamped = new Map<number, number>()
  readonly #holder = crypto.randomUUID()
  readonly #stage: ObjectStage
  #held: Stamper | null = null

  constructor(stage: ObjectStage) {
    this.#stage = stage
  }

  /** The lease of whoever has it runs out, and this one is the first to notice. */
  async takeOver(): Promise<void> {
    const { sql, namespace } = this.#stage
    const take = async (): Promise<boolean> => {
      await sql('update callplane.heads set expires_at = now() where namespace = $1', [namespace])
      // Its own runs out at once, too, so that the other can take over as soon as it asks.
      this.#held = await takeHead(sql, namespace, this.#holder, { leaseMs: 0 })
      return this.#held !== null
    }
    await expect.poll(take, PATIENCE).toBe(true)
  }

  /** Whether it was still the stamper. */
  async stamp(): Promise<boolean> {
    if (this.#held === null) return false
    const entries = await stampEvents(this.#stage.sql, this.#held, { limit: LIMIT, leaseMs: 0 })
    if (entries === null) this.#held = null
    for (const { tick } of entries ?? []) this.stamped.set(tick, (this.stamped.get(tick) ?? 0) + 1)
    return entries !== null
  }
}

async function wholeLog({ sql, namespace }: ObjectStage): Promise<Entry[]> {
  const all: Entry[] = []
  for (;;) {
    const { entries } = await readLog(sql, namespace, { after: all.at(-1)?.tick ?? 0, limit: LIMIT })
    if (entries.length === 0) return all
    all.push(...entries)
  }
}

test('both stamp at the same time: no event is missed or stamped twice, and who is fenced gives way', async () => {
  const stage = await newStage()
  const client = await stage.connect()
  await client.ask('Register', { name: 'states', plan: byState })
  await client.ask('Interest', { name: 'states' })
  const other = new NodeStamper(stage)
  const made: string[] = []
  const write = async (): Promise<void> => void made.push(...(await enqueue(stage, 2)))
  let fenced = 0
  for (let round = 0; round < ROUNDS; round++) {
    await other.takeOver()
    // The object is poked with each write, and stamps, too, until it finds that it is fenced.
    for (let n = 0; n < 5; n++) await Promise.all([write(), other.stamp(), write(), other.stamp()])
    // The object asks for the lease, and gets it: then it is this one that stamps nothing any more.
    const isFenced = async (): Promise<boolean> => {
      const [, isStamper] = await Promise.all([write(), other.stamp()])
      return !isStamper
    }
    await expect.poll(isFenced, PATIENCE).toBe(true)
    fenced++
    await Promise.all([write(), write()])
  }
  expect(fenced).toBe(ROUNDS)
  const pending = [{ service: 'greeter', state: 'pending', count: made.length }]
  await expect.poll(() => client.rows('states'), PATIENCE).toEqual(pending)

  const log = await wholeLog(stage)
  const jobs = log.flatMap((entry) => ('after' in entry ? [String(entry.after?.[0])] : []))
  expect(jobs.toSorted()).toEqual(made.toSorted())
  expect(
    await stage.sql('select 1 from callplane.events where namespace = $1 and tick is null', [stage.namespace]),
  ).toEqual([])
  // A tick is whole, and of one of them.
  const inLog = new Map(
    Array.from(
      Map.groupBy(log, ({ tick }) => tick),
      ([tick, of]) => [tick, of.length],
    ),
  )
  for (const [tick, count] of other.stamped) expect([tick, inLog.get(tick)]).toEqual([tick, count])
  expect(other.stamped.size).toBeGreaterThanOrEqual(ROUNDS)
  expect([...inLog.keys()].filter((tick) => !other.stamped.has(tick)).length).toBeGreaterThanOrEqual(ROUNDS)
  // The client's peer heard of all of them in their order: of each once.
  const ticks = client.of('states').flatMap((frame) => ('QueryDiff' in frame ? [frame.QueryDiff[2]] : []))
  expect(ticks).toEqual([...new Set(ticks)].toSorted((a, b) => a - b))
})
