// What people get wrong at the command line: one clear line, an exit code, and nothing changed.
import { writeFileSync, mkdirSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { SCHEMA_VERSION } from '../../src/db/migrate.ts'
import { pgSql } from '../../src/db/pg.ts'
import { parseKey } from '../../src/protocol/keys.ts'
import { callplane, freePort, ROOT, run, temporaryFolder } from '../support/cli.ts'
import { freshDatabase } from '../support/fresh-database.ts'

const MINUTE = { timeout: 60_000 }

async function expectFailure(args: string[], env: Record<string, string>, code: number, line: RegExp): Promise<void> {
  const result = await callplane(args, env).exit
  const lines = result.output.trim().split('\n')
  expect(lines.at(-1)).toMatch(line)
  expect(result.output).not.toMatch(/\n {4}at /)
  expect(result.code).toBe(code)
}

test('no DATABASE_URL, one that is none, and one where nobody answers', MINUTE, async () => {
  const port = await freePort()
  await expectFailure(['serve'], {}, 1, /^callplane serve: DATABASE_URL is not set: give the Postgres/)
  await expectFailure(
    ['migrate'],
    { DATABASE_URL: 'hunter2' },
    1,
    /^callplane migrate: DATABASE_URL must look like postgresql:/,
  )
  const nobody = { DATABASE_URL: `postgresql://me:secret@127.0.0.1:${port}/db` }
  await expectFailure(['serve'], nobody, 1, /^callplane serve: no database answers at 127.0.0.1:\d+: .*ECONNREFUSED/)
  const { output } = await callplane(['migrate'], nobody).exit
  expect(output).not.toContain('secret')
})

test('a database without the schema, and one of a newer build', MINUTE, async () => {
  const DATABASE_URL = await freshDatabase()
  await expectFailure(
    ['serve', '--port', '0'],
    { DATABASE_URL },
    1,
    new RegExp(`version 0, this build needs ${SCHEMA_VERSION}: run "npm run migrate"`),
  )
  await callplane(['migrate'], { DATABASE_URL }).exit
  const { sql, close } = pgSql({ connectionString: DATABASE_URL })
  await sql('insert into callplane.schema_version (version) values (99)')
  await close()
  await expectFailure(['serve', '--port', '0'], { DATABASE_URL }, 1, /version 99.*newer/)
})

test('an address for live queries over TCP that is none, and one where there is no TCP', MINUTE, async () => {
  const DATABASE_URL = 'postgresql://me@127.0.0.1:1/db'
  const line = (command: string) =>
    new RegExp(`^callplane ${command}: CALLPLANE_LIVE_TCP is "here": write 127.0.0.1:8788`)
  const CALLPLANE_DIR = temporaryFolder()
  await expectFailure(['serve'], { DATABASE_URL, CALLPLANE_LIVE_TCP: 'here' }, 1, line('serve'))
  await expectFailure(['dev'], { CALLPLANE_DIR, CALLPLANE_LIVE_TCP: 'here' }, 1, line('dev'))
  const workerd = { CALLPLANE_DIR, CALLPLANE_LIVE_TCP: ':0' }
  await expectFailure(
    ['dev', '--workerd'],
    workerd,
    1,
    /^callplane dev: CALLPLANE_LIVE_TCP is set, and Cloudflare takes no TCP/,
  )
})

test('a port in use, one that is none, and one folder for two processes', MINUTE, async () => {
  const blocker = createServer().listen(0, '127.0.0.1')
  onTestFinished(() => void blocker.close())
  await new Promise((resolve) => blocker.once('listening', resolve))
  const taken = String((blocker.address() as AddressInfo).port)
  const dir = temporaryFolder()
  await expectFailure(['dev'], { CALLPLANE_DIR: dir, PORT: taken }, 1, /^callplane dev: port \d+ is in use.*PORT/)
  await expectFailure(['dev'], { CALLPLANE_DIR: dir, PORT: 'http' }, 1, /^callplane dev: "http" is no port/)

  const first = callplane(['dev'], { CALLPLANE_DIR: dir, PORT: await freePort() })
  await first.prints(/is ready/)
  const second = { CALLPLANE_DIR: dir, PORT: await freePort() }
  await expectFailure(['dev'], second, 1, new RegExp(`is open in process ${first.process.pid} since`))
  expect((await first.stop()).code).toBe(0)
})

test('a key file that holds no key, and a bootstrap key that is none', MINUTE, async () => {
  const dir = temporaryFolder()
  mkdirSync(dir, { recursive: true })
  writeFileSync(join(dir, 'key'), 'not a key')
  await expectFailure(['dev', '--port', '0'], { CALLPLANE_DIR: dir }, 1, /key does not hold a key: remove it/)
  const admin = { CALLPLANE_DIR: temporaryFolder(), CALLPLANE_ADMIN_KEY: 'x' }
  await expectFailure(['dev', '--port', '0'], admin, 1, /CALLPLANE_ADMIN_KEY is not a key: make one with/)
})

test('commands and options that there are not', MINUTE, async () => {
  await expectFailure(['fly'], {}, 2, /^callplane: there is no command "fly"; callplane --help lists them$/)
  await expectFailure(['serve', '--fast'], {}, 2, /^callplane serve: .*--fast/)
  await expectFailure(['keys', 'create', '--scope', 'all'], {}, 2, /"all" is no scope: use one of call, serve/)
  const { code, output } = await callplane(['--help']).exit
  expect([code, output]).toEqual([0, expect.stringMatching(/dev .*serve .*migrate .*keys /s)])
})

test('keys create: offline makes a key; without a plane it names the command to run', MINUTE, async () => {
  const { code, output } = await callplane(['keys', 'create', '--offline']).exit
  expect(code).toBe(0)
  expect(parseKey(output.trim())).not.toBeNull()
  const CALLPLANE_URL = `http://127.0.0.1:${await freePort()}`
  const nowhere = { CALLPLANE_URL, CALLPLANE_KEY: output.trim() }
  await expectFailure(['keys', 'create'], nowhere, 1, /no plane answers at .*npm start/)
})

test('the demo without a plane, and without a key', MINUTE, async () => {
  const CALLPLANE_URL = `http://127.0.0.1:${await freePort()}`
  const demo = await run(join(ROOT, 'test/examples/demo/main.ts'), [], { CALLPLANE_URL }).exit
  expect(demo).toMatchObject({ code: 1, output: expect.stringMatching(/no plane answers at .*run "npm start"/) })
})
