// The same demo on every host: embedded on Node, in workerd, and over two processes on one Postgres.
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { SCHEMA_VERSION } from '../../src/db/migrate.ts'
import { newKey } from '../../src/protocol/keys.ts'
import { callplane, freePort, ROOT, run, temporaryFolder } from '../support/cli.ts'
import { freshDatabase } from '../support/fresh-database.ts'

const DEMO = join(ROOT, 'test/examples/demo/main.ts')
const MINUTES = 60_000

/** Runs the demo and expects every answer verified, and the error as the function threw it. */
async function expectDemo(env: Record<string, string>): Promise<void> {
  const { code, output } = await run(DEMO, [], env).exit
  expect(output).toMatch(/each answer verified/)
  expect(output).toMatch(/UnreadableFile: cannot read \/etc\/motd/)
  expect(output).toMatch(/cause.*TypeError: the disk of a demo holds nothing/s)
  expect(output).toMatch(/code: 'E_UNREADABLE'/)
  expect(code).toBe(0)
}

test(
  'npm start: the plane on the embedded database, whose state survives a restart',
  { timeout: 3 * MINUTES },
  async () => {
    const dir = temporaryFolder()
    const env = { CALLPLANE_DIR: dir, PORT: await freePort() }
    const url = `http://127.0.0.1:${env.PORT}`
    const first = callplane(['dev'], env)
    await first.prints(/Callplane is ready[^]*Ctrl-C stops/)
    expect(first.output()).toContain(url)
    const key = readFileSync(join(dir, 'key'), 'utf8').trim()
    expect(first.output()).toContain(key)
    expect(statSync(join(dir, 'key')).mode & 0o777).toBe(0o600)
    await expectDemo({ CALLPLANE_URL: url, CALLPLANE_DIR: dir })

    const headers = { authorization: `Bearer ${key}` }
    const response = await fetch(`${url}/v1/call/nobody/serves`, {
      method: 'POST',
      body: '["kept"]',
      headers,
      signal: AbortSignal.timeout(1_000),
    }).catch(() => null)
    expect(response).toBeNull()
    expect((await first.stop()).code).toBe(0)

    const second = callplane(['dev'], env)
    await second.prints(/Callplane is ready/)
    expect(readFileSync(join(dir, 'key'), 'utf8').trim()).toBe(key)
    // A runner that comes after the restart gets the call that was made before it.
    const late = run(join(ROOT, 'test/support/late-runner.ts'), [], { CALLPLANE_URL: url, CALLPLANE_KEY: key })
    await late.prints(/served kept/)
    expect((await second.stop('SIGINT')).code).toBe(0)
  },
)

test('npm run dev: the plane in workerd, its Neon driver on our own endpoint', { timeout: 3 * MINUTES }, async () => {
  const dir = temporaryFolder()
  const env = { CALLPLANE_DIR: dir, PORT: await freePort() }
  const plane = callplane(['dev', '--workerd'], env)
  await plane.prints(/Callplane is ready/)
  await expectDemo({ CALLPLANE_URL: `http://127.0.0.1:${env.PORT}`, CALLPLANE_DIR: dir })
  expect((await plane.stop()).code).toBe(0)
})

test(
  'two callplane serve on one Postgres: runners at one, callers at the other',
  { timeout: 3 * MINUTES },
  async () => {
    const DATABASE_URL = await freshDatabase()
    expect((await callplane(['migrate'], { DATABASE_URL }).exit).output).toMatch(
      new RegExp(`from version 0 to ${SCHEMA_VERSION}`),
    )
    expect((await callplane(['migrate'], { DATABASE_URL }).exit).output).toMatch(/nothing to do/)
    const adminKey = newKey().key
    const serve = async () => {
      const plane = callplane(['serve', '--host', '127.0.0.1'], {
        DATABASE_URL,
        PORT: '0',
        CALLPLANE_ADMIN_KEY: adminKey,
      })
      const [, url = ''] = await plane.prints(/"event":"listening","url":"([^"]+)"/)
      return { plane, url }
    }
    const [one, two] = [await serve(), await serve()]
    const made = await callplane(['keys', 'create', '--namespace', 'demo', '--name', 'for the demo', '--json'], {
      CALLPLANE_URL: one.url,
      CALLPLANE_KEY: adminKey,
    }).exit
    expect(made.code).toBe(0)
    const { key, namespace } = JSON.parse(made.output) as { key: string; namespace: string }
    expect(namespace).toBe('demo')
    await expectDemo({ CALLPLANE_URL: one.url, CALLPLANE_RUNNER_URL: two.url, CALLPLANE_KEY: key })
    expect((await one.plane.stop()).code).toBe(0)
    expect((await two.plane.stop()).code).toBe(0)
    for (const { plane } of [one, two]) expect(plane.output()).not.toContain(key)
  },
)
