// The example of the README: calls that failed, looked at and run anew.

// #region operate
import { Callplane } from 'callplane'
import { admin } from 'callplane/admin'

const plane = new Callplane()
const { calls } = admin(plane)
for await (const { id, failure } of calls.list({ state: 'failed', service: 'mailer' })) console.log(id, failure)
const { redriven } = await calls.redrive({ state: 'failed', service: 'mailer', newerThanMs: 3_600_000 })
console.log(`${redriven} calls run anew`)
// #endregion

await plane.close()
