// The example of the README: a service, and a client that calls it.

// #region hello
import { Callplane } from 'callplane'

const plane = new Callplane() // reads CALLPLANE_URL and CALLPLANE_KEY
const greeter = plane.service('greeter', {
  functions: { hello: async (name: string) => `hello ${name}` },
})
await greeter.start()

const client = plane.client<typeof greeter>('greeter') // elsewhere: import type { greeter }
console.log(await client.hello('Ada')) // hello Ada
// #endregion

// #region durable
const later = client.hello.with({ delayMs: 1_000, retry: { attempts: 5 } })
const call = await later.start('Grace') // from here on it survives the crash of any process
console.log(call.id, await call.result())
// #endregion
