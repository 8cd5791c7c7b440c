// `callplane peers` against a plane: nobody at first, then a peer with its client.
import { expect, onTestFinished, test } from 'vitest'
import { Callplane } from 'callplane'
import { startEmbedded } from '../../src/node.ts'
import { callplane, temporaryFolder } from '../support/cli.ts'

test('it lists who answers live queries, and says so where nobody does', async () => {
  const plane = await startEmbedded(temporaryFolder(), { host: '127.0.0.1', port: 0 })
  onTestFinished(() => plane.close())
  const { url, key } = plane
  const peers = (...words: string[]) => callplane(['peers', ...words], { CALLPLANE_URL: url, CALLPLANE_KEY: key }).exit
  expect(await peers()).toEqual({ code: 0, output: 'Nobody watches: "callplane watch queues" does.\n' })
  const watcher = new Callplane({ url, key })
  onTestFinished(() => watcher.close())
  await watcher.live.watch('queues').next()
  const listed = async () => JSON.parse((await peers('--json')).output) as unknown
  await expect.poll(listed, { timeout: 30_000 }).toMatchObject([{ id: plane.peer.id, clients: 1, isAwake: true }])
  const metrics = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${key}` } })
  expect(await metrics.text()).toMatch(/# TYPE callplane_live_clients gauge\ncallplane_live_clients 1\n/)
  const { output } = await peers()
  expect(output).toMatch(/^PEER +SEEN +TICK +LAG +CLIENTS +SLOW +QUERIES +ROWS +MEMORY\n/)
  expect(output).toMatch(new RegExp(`^${plane.peer.id} .* 0 B$`, 'm'))
})
