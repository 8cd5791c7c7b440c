// What a call costs: statements and requests of single calls, counted, printed and bounded.
import { Callplane } from 'callplane'
import { expect, onTestFinished, test } from 'vitest'
import { setup } from '../support/plane.ts'

/**
 * Insert, claim and complete; a process hands the call over, so that its insert is its claim. And a little for registering,
 * keys, the sweep and polls that waited for long. Two requests a call.
 */
const HOSTS = {
  // In workerd it is counted over more, with what its bells cost: test/budget.
  'by a Worker': { calls: 200, statementsPerCall: 3.05, gather: undefined },
  'by a process': { calls: 1_000, statementsPerCall: 2.05, gather: setImmediate },
}
const MOST_REQUESTS_PER_CALL = 2.05

test.each(Object.entries(HOSTS))('calls, one after another, %s', { timeout: 300_000 }, async (host, most) => {
  const { calls } = most
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
  for (let n = 0; n < calls; n++) expect(await client.add(n, 1)).toBe(n + 1)
  const statements = plane.statements()
  const kinds = Map.groupBy(statements, (text) => /(insert into|update|from) callplane\.\w+/.exec(text)?.[0] ?? text)
  console.log(
    `over ${calls} single calls ${host}: ${statements.length / calls} statements and ${requests / calls} requests a call`,
  )
  for (const [kind, of] of kinds) console.log(`  ${(of.length / calls).toFixed(3)} × ${kind} …`)
  expect(statements.length / calls).toBeLessThan(most.statementsPerCall)
  expect(requests / calls).toBeLessThan(MOST_REQUESTS_PER_CALL)
})
