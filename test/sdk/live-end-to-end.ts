// What users do with live queries: one suite for every peer that speaks the wire.
import { Callplane, from, type CallplaneOptions, type LiveChange } from 'callplane'
import { describe, expect, onTestFinished, test } from 'vitest'

interface Options {
  url: string
  key: string
  WebSocket: NonNullable<CallplaneOptions['WebSocket']>
}

/** What the SDK needs to know of a namespace of its own at some peer. */
export type LiveHost = () => Promise<Options> | Options

const MACHINES = { name: 'text', cores: 'int', bytes: 'int64' } as const
const a = { name: 'a', cores: 4, bytes: 2n ** 60n }
const b = { name: 'b', cores: 8, bytes: 9n }

/** A Callplane of the test, closed with it, and a way to cut its connections. */
function connect({ WebSocket, ...options }: Options) {
  const sockets = new Set<{ close(): void }>()
  class Cuttable extends WebSocket {
    constructor(url: string) {
      super(url)
      sockets.add(this)
    }
  }
  const plane = new Callplane({ ...options, WebSocket: Cuttable })
  onTestFinished(() => plane.close())
  return { live: plane.live, plane, cut: () => sockets.forEach((socket) => socket.close()) }
}

async function machinesOf({ live }: { live: Callplane['live'] }) {
  const machines = await live.createRelation('machines', MACHINES)
  return { machines, all: await live.register('all', from(machines.name, machines.columns)) }
}

async function next<R>(loop: AsyncIterator<LiveChange<R>>): Promise<LiveChange<R>> {
  const { value } = (await loop.next()) as { value: LiveChange<R> | undefined } // undefined at its end
  if (value === undefined) throw new Error('the loop has ended')
  return value
}

/** Changes until there are so many rows: of several transactions, some may come as one. */
async function until<R>(loop: AsyncIterator<LiveChange<R>>, rows: number): Promise<LiveChange<R>> {
  for (;;) {
    const change = await next(loop)
    if (change.rows.length === rows) return change
  }
}

export function liveEndToEnd(host: LiveHost): void {
  describe('live queries', () => {
    test('a loop sees rows come and go, in ticks that grow', async () => {
      const client = connect(await host())
      const { machines, all } = await machinesOf(client)
      const loop = client.live.watch(all)
      const empty = await next(loop)
      expect(empty).toMatchObject({ rows: [], diffs: [] })
      await machines.insert(a)
      const one = await until(loop, 1)
      expect(one).toMatchObject({ rows: [a], diffs: [[a, 1]] })
      expect(one.tick).toBeGreaterThan(empty.tick)
      await machines.transact([a, -1], [b, 2])
      const two = await until(loop, 2)
      expect(two.rows).toEqual([b, b])
      expect(two.diffs).toHaveLength(2)
      expect(two.diffs).toEqual(
        expect.arrayContaining([
          [a, -1],
          [b, 2],
        ]),
      )
      await loop.return?.()
    })

    test('another client begins with all that there is', async () => {
      const options = await host()
      const first = connect(options)
      const { machines, all } = await machinesOf(first)
      await machines.insert(a, b)
      await until(first.live.watch(all), 2)
      const { rows, diffs } = await next(connect(options).live.watch('all'))
      expect(rows).toHaveLength(2)
      expect(rows).toEqual(
        expect.arrayContaining([
          { ...a, bytes: String(a.bytes) },
          { ...b, bytes: '9' },
        ]),
      )
      expect(diffs.map(([, diff]) => diff)).toEqual([1, 1])
    })

    test('after a cut the same loop goes on, with what came meanwhile', async () => {
      const options = await host()
      const [client, other] = [connect(options), connect(options)]
      const { all } = await machinesOf(client)
      const { machines } = await machinesOf(other)
      const loop = client.live.watch(all)
      await machines.insert(a)
      await until(loop, 1)
      client.cut()
      await machines.insert(b)
      expect(await until(loop, 2)).toMatchObject({ diffs: [[b, 1]] })
    })

    test(
      'a name holds one plan, and a query that ends under a loop ends it with an error',
      { timeout: 30_000 },
      async () => {
        const options = await host()
        const client = connect(options)
        const { all } = await machinesOf(client)
        await client.live.register('all', from('machines', MACHINES))
        await expect(client.live.register('all', from('jobs'))).rejects.toMatchObject({ code: 'conflict' })
        const loop = client.live.watch(all)
        await next(loop)
        await connect(options).live.unregister('all')
        await expect(loop.next()).rejects.toMatchObject({ code: 'not_found' })
        await expect(client.live.unregister('all')).rejects.toMatchObject({ code: 'not_found' })
      },
    )

    test('a wrong key is refused, and a peer tells how it does', async () => {
      const options = await host()
      const wrong = connect({ ...options, key: `${options.key.slice(0, -1)}_` })
      await expect(wrong.live.status()).rejects.toMatchObject({ code: 'unauthorized' })
      const { tick, clients } = await connect(options).live.status()
      expect(tick).toBeGreaterThanOrEqual(0)
      expect(clients).toBeGreaterThanOrEqual(1)
    })
  })
}
