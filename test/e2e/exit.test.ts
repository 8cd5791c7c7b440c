// Processes that use the SDK end when they are done: no timer, socket or rejection keeps or kills them.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { callplane, freePort, ROOT, run, temporaryFolder } from '../support/cli.ts'

const EXITS_WITHIN_MS = 8_000

test('a program ends by itself, in good order', { timeout: 60_000 }, async () => {
  const dir = temporaryFolder()
  const plane = callplane(['dev'], { CALLPLANE_DIR: dir, PORT: await freePort() })
  const [, url = ''] = await plane.prints(/URL {2}(\S+)/)
  const env = { CALLPLANE_URL: url, CALLPLANE_KEY: readFileSync(join(dir, 'key'), 'utf8').trim() }
  const programs: [string, string][] = [
    ['serves and closes', 'hello Ada\n'],
    ['calls and forgets to close', 'pending\n'],
    ['closes what waits', 'closed\n'],
    ['finds nobody', 'plane_unreachable\nclosed\n'],
    ['watches nobody', 'TimeoutError\n'],
  ]
  for (const [name, printed] of programs) {
    const program = run(join(ROOT, 'test/support/short-lived.ts'), [name], env)
    const overdue = setTimeout(() => void program.stop('SIGKILL'), EXITS_WITHIN_MS)
    expect([name, await program.exit]).toEqual([name, { code: 0, output: printed }])
    clearTimeout(overdue)
  }

  // And one whose plane goes away under it: it ends when it is told to.
  const late = run(join(ROOT, 'test/examples/demo/runner.ts'), [], env)
  await expect.poll(async () => (await fetch(`${url}/health`)).ok).toBe(true)
  await plane.stop()
  await late.stop('SIGTERM')
  expect(late.output()).not.toMatch(/rejection|Error/)
})
