// The Worker over Hyperdrive: pg inside workerd, a connection for each request, open as long as its stream; live queries too.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Callplane, CallplaneError, from } from 'callplane'
import { expect, onTestFinished, test } from 'vitest'
import { newKey } from '../../src/protocol/keys.ts'
import { callplane, freePort, ROOT, run, temporaryFolder } from '../support/cli.ts'
import { freshDatabase } from '../support/fresh-database.ts'

test('single calls, streamed batches and live queries', { timeout: 120_000 }, async () => {
  const DATABASE_URL = await freshDatabase()
  expect((await callplane(['migrate'], { DATABASE_URL }).exit).code).toBe(0)
  const folder = temporaryFolder()
  const key = newKey().key
  // The configuration that is deployed, with the binding that it has as a comment.
  const config = readFileSync(join(ROOT, 'wrangler.toml'), 'utf8').replace('src/worker.ts', join(ROOT, 'src/worker.ts'))
  const binding = `[[hyperdrive]]\nbinding = "HYPERDRIVE"\nid = "local"\nlocalConnectionString = "${DATABASE_URL}"\n`
  writeFileSync(join(folder, 'wrangler.toml'), `${config}\n${binding}`)
  writeFileSync(join(folder, 'env'), `CALLPLANE_ADMIN_KEY=${key}\n`)
  const port = await freePort()
  const wrangler = join(ROOT, 'node_modules/wrangler/bin/wrangler.js')
  const files = ['--config', join(folder, 'wrangler.toml'), '--env-file', join(folder, 'env'), '--persist-to', folder]
  const quiet = ['--ip', '127.0.0.1', '--port', port, '--show-interactive-dev-session=false']
  const worker = run(wrangler, ['dev', ...files, ...quiet], { WRANGLER_SEND_METRICS: 'false' })
  onTestFinished(async () => {
    await worker.stop('SIGTERM')
  })
  const url = `http://127.0.0.1:${port}`
  await expect
    .poll(async () => (await fetch(`${url}/ready`).catch(() => null))?.status, { timeout: 60_000, interval: 200 })
    .toBe(200)

  const plane = new Callplane({ url, key })
  onTestFinished(() => plane.close())
  const adder = plane.service('adder', { functions: { add: (a: number, b: number) => a + b } })
  await adder.start()
  const client = plane.client<typeof adder>('adder')
  expect(await client.add(1, 2)).toBe(3)
  // Made in one tick, they are one request, whose answer streams.
  expect(await Promise.all([1, 2, 3, 4, 5].map((n) => client.add(n, n)))).toEqual([2, 4, 6, 8, 10])
  const calls = await client.add.batch([
    [1, 1],
    [2, 2],
    [3, 3],
  ])
  const results = calls.map((call) => (call instanceof CallplaneError ? call : call.result()))
  expect(await Promise.all(results)).toEqual([2, 4, 6])
  expect(worker.output()).not.toContain('stream_cut')

  // The objects of live queries have their own connections, for as long as a statement takes.
  const states = await plane.live.register('states', from('jobs').groupBy('state').count())
  for await (const { rows } of plane.live.watch(states)) {
    if (rows.some(({ state, count }) => state === 'succeeded' && count === 10)) break
    if (rows.some(({ state, count }) => state === 'succeeded' && count === 9)) await client.add(1, 1)
  }
  expect(worker.output()).not.toContain('log_unread')
})
