// What a call costs: statements and requests over 1,000 single calls, counted, printed and bounded.
import { Callplane } from 'callplane'
import { expect, onTestFinished, test } from 'vitest'
import { setup } from '../support/plane.ts'

const CALLS = 1_000

/**
 * Insert, claim and complete; a process hands the call over, so that its insert is its claim. And a little for registering,
 * keys, the sweep and polls that waited for long. Two requests a call.
 */
const HOSTS = {
  'by a Worker': { statementsPerCall: 3.05, gather: undefined },
  'by a process': { statementsPerCall: 2.05, gather: setImmediate },
}
const MOST_REQUESTS_PER_CALL = 2.05

test.each(Object.entries(HOSTS))(`${CALLS} calls, one after another, %s`, { timeout: 300_000 }, async (host, most) => {
  const plane = await setup(most.gather === undefined ? {} : { gather: most.gather })
  let requests = 0
  const fetch: typeof plane.options.fetch = (input, init) => {
    requests++
    return plane.options.fetch(input, init)
  }
  const connect = () => {
    const connected = new Callplane({ ...plane.options, fetch })
    onTestFinished(() => connected.close())
    return connected
  }
  const adder = connect().service('adder', { functions: { add: (a: number, b: number) => a + b } })
  await adder.start()
  const client = connect().client<typeof adder>('adder')
  await client.add(0, 0)
  plane.statements()
  requests = 0
  for (let n = 0; n < CALLS; n++) expect(await client.add(n, 1)).toBe(n + 1)
  const statements = plane.statements()
  const kinds = Map.groupBy(statements, (text) => /(insert into|update|from) callplane\.\w+/.exec(text)?.[0] ?? text)
  console.log(
    `over ${CALLS} single calls ${host}: ${statements.length / CALLS} statements and ${requests / CALLS} requests a call`,
  )
  for (const [kind, of] of kinds) console.log(`  ${(of.length / CALLS).toFixed(3)} × ${kind} …`)
  expect(statements.length / CALLS).toBeLessThan(most.statementsPerCall)
  expect(requests / CALLS).toBeLessThan(MOST_REQUESTS_PER_CALL)
})
