// `callplane calls` as people use it: on a plane with calls that failed, that wait and that ended.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Callplane } from 'callplane'
import { admin } from 'callplane/admin'
import { expect, onTestFinished, test } from 'vitest'
import { callplane, freePort, ROOT, run, temporaryFolder } from '../support/cli.ts'

const MINUTES = { timeout: 180_000 }

/** A plane in a folder, and a mailer on it that fails until it is mended. */
async function running() {
  const CALLPLANE_DIR = temporaryFolder()
  const PORT = await freePort()
  const plane = callplane(['dev'], { CALLPLANE_DIR, PORT })
  await plane.prints(/Callplane is ready/)
  const CALLPLANE_KEY = readFileSync(join(CALLPLANE_DIR, 'key'), 'utf8').trim()
  const env = { CALLPLANE_KEY, CALLPLANE_URL: `http://127.0.0.1:${PORT}` }
  // The command line finds the key in the folder; the SDK does not.
  const cli = async (...args: string[]) =>
    callplane(['calls', ...args], { ...env, CALLPLANE_KEY: '', CALLPLANE_DIR }).exit
  const empty = await cli('list')
  const connected = new Callplane({ url: env.CALLPLANE_URL, key: CALLPLANE_KEY })
  onTestFinished(() => connected.close())
  const state = { isMended: false }
  const mailer = connected.service('mailer', {
    functions: {
      send: (to: string) => {
        if (!state.isMended) throw Object.assign(new RangeError(`no route to ${to}\n\u001b[2J`), { code: 'E_ROUTE' })
        return `sent to ${to}`
      },
    },
  })
  await mailer.start()
  return { cli, empty, connected, state, env, client: connected.client<typeof mailer>('mailer') }
}

test('calls list, show, redrive and cancel', MINUTES, async () => {
  const { cli, empty, connected, state, env, client } = await running()
  expect(empty).toEqual({ code: 0, output: 'No calls yet: "npm run demo" makes some.\n' })

  const failed = await client.send.with({ retry: { attempts: 2, backoff: { initialMs: 0 } } }).start('Ada')
  await failed.result().catch((error: unknown) => expect(String(error)).toContain('RangeError: no route'))
  const list = await cli('list', '--failed', '--service', 'mailer')
  expect(list.code).toBe(0)
  expect(list.output).toMatch(/^ID +FUNCTION +STATE +ATTEMPTS +MADE \(UTC\) +TOOK\n/)
  expect(list.output).toMatch(
    new RegExp(`^${failed.id} +mailer\\.send +failed: threw +2 of 2 +\\d{4}-\\S+ [\\d:]+ +\\d.*s$`, 'm'),
  )

  const show = await cli('show', failed.id)
  expect(show.code).toBe(0)
  expect(show.output).toMatch(new RegExp(`^${failed.id}  mailer\\.send  failed: threw\n\n.* UTC, made\n`))
  const attempt = (n: number) =>
    String.raw`\+ \d.*s +├─ attempt ${n} of 2, fence ${n}, runner [-0-9a-f]{36}\n +\+ \d.*s +│ +threw after \d.*s: RangeError: no route to Ada`
  expect(show.output).toMatch(new RegExp(`${attempt(1)}[^]*${attempt(2)}[^]*└─ failed\n`))
  expect(show.output).toMatch(/error +RangeError: no route to Ada[^]*code: 'E_ROUTE'/)
  // What a function throws does not reach the terminal as commands.
  expect(show.output).not.toContain('\u001b')
  expect(JSON.parse((await cli('show', failed.id, '--json')).output)).toMatchObject({
    id: failed.id,
    state: 'failed',
    error: { name: 'RangeError', code: 'E_ROUTE' },
    attempts: [{ attempt: 1, outcome: 'threw' }, { attempt: 2 }],
  })

  state.isMended = true
  const redrive = await cli('redrive', failed.id)
  const heir = new RegExp(`^${failed.id}  runs anew as (\\S+)\n$`).exec(redrive.output)?.[1] ?? ''
  expect(redrive.code).toBe(0)
  expect(await connected.call(heir).result()).toBe('sent to Ada')
  expect(await cli('redrive', failed.id)).toEqual({
    code: 0,
    output: `${failed.id}  was redriven before, as ${heir}\n`,
  })
  expect((await cli('list')).output).toContain(`redriven as ${heir}`)
  const heirShown = (await cli('show', heir)).output
  expect(heirShown).toMatch(new RegExp(`runs anew +${failed.id}\n +result +'sent to Ada'\n$`))
  expect(heirShown).toMatch(/fence 3/)

  state.isMended = false
  await Promise.allSettled(Array.from({ length: 30 }, (_, n) => client.send.with({ retry: { attempts: 1 } })(`n${n}`)))
  expect(await cli('redrive', '--failed', '--function', 'send', '--since', '1h')).toEqual({
    code: 0,
    output: '30 calls will run anew.\n',
  })
  const { calls } = admin(connected)
  const open = async () => (await calls.list({ state: ['pending', 'running'] }).next()).value
  await expect.poll(open, { timeout: 20_000 }).toBeUndefined()
  state.isMended = true
  // The thirty have failed once more: now it is their turn, and not that of those whom they run anew.
  const example = await run(join(ROOT, 'test/examples/operate.ts'), [], env).exit
  expect(example).toEqual({ code: 0, output: expect.stringMatching(/^(\S{36} threw\n){61}30 calls run anew\n$/) })
  expect(JSON.parse((await cli('redrive', '--all', '--json')).output)).toEqual({
    redriven: 0,
    repeated: 0,
    refused: [],
  })
  const few = await cli('list', '--limit', '5')
  expect(few.output.split('\n').filter((line) => line.includes('mailer.send'))).toHaveLength(5)
  expect(few.output).toMatch(/There are more: --limit 10, or --all\n$/)
  expect(JSON.parse((await cli('list', '--all', '--json')).output)).toHaveLength(92)
})

test('calls cancel; and what was not done as its help says', MINUTES, async () => {
  const { cli, connected, env } = await running()
  const nobody = connected.client('nobody')['wait']
  const waiting = await Promise.all([1, 2, 3].map(() => nobody?.start()))
  const [first = ''] = waiting.map((call) => call?.id ?? '')
  expect((await cli('show', first)).output).toMatch(/└─ pending: no runner has registered nobody\.wait yet/)
  expect(await cli('redrive', first)).toEqual({
    code: 1,
    output: expect.stringMatching(
      /^\S+ {2}call \S+ is pending: only a call that has ended can be redriven; wait for its/,
    ),
  })
  const unknown = '01a1ff8c-af5b-7bef-b708-91d77311faea'
  const cancel = await cli('cancel', first, unknown, '--reason', 'not needed')
  expect(cancel.code).toBe(1)
  expect(cancel.output).toContain(`${first}  cancelled\n`)
  expect(cancel.output).toContain(`${unknown}  there is no call ${unknown} in the namespace`)
  expect((await cli('show', first)).output).toMatch(/└─ cancelled: not needed\n/)
  expect(await cli('cancel', '--service', 'nobody')).toEqual({ code: 0, output: 'Cancelled 2 calls.\n' })
  expect(JSON.parse((await cli('cancel', '--all', '--json')).output)).toEqual({ cancelled: 0, ended: 0 })

  const wrong: [string[], number, RegExp][] = [
    [[], 2, /^callplane calls: say which command: use one of list, show, cancel, redrive$/],
    [['redrive'], 2, /^callplane calls redrive: say which calls: ids, options such as --service NAME, or --all$/],
    [['show', unknown], 1, /^callplane calls show: there is no call/],
    [['cancel', '--failed'], 1, /^callplane calls cancel: calls\.cancel: a call that is failed has ended/],
  ]
  for (const [args, code, message] of wrong) {
    const result = await cli(...args)
    expect([args, result.code, result.output.trim()]).toEqual([args, code, expect.stringMatching(message)])
  }
  expect(await cli('redrive', '--help')).toMatchObject({
    code: 0,
    output: expect.stringMatching(/^Usage: callplane calls redrive /),
  })
  const nowhere = { ...env, CALLPLANE_URL: `http://127.0.0.1:${await freePort()}` }
  expect(await callplane(['calls', 'list'], nowhere).exit).toEqual({
    code: 1,
    output: expect.stringMatching(/^callplane calls list: no plane answers at .*: start one with "npm start"/),
  })
})
