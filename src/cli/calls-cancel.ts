// `callplane calls cancel`: takes back calls that have not ended.
import { toJson } from '../protocol/json-value.ts'
import { admin, type CancelledCall } from '../sdk/admin.ts'
import { FILTER_HELP, FILTER_OPTIONS, readTarget } from './calls-filter.ts'
import { readArgs, type Command } from './command.ts'
import { withPlane } from './plane.ts'
import { count, progress } from './printable.ts'

export const cancelCalls: Command = {
  summary: 'takes back calls that have not ended',
  help: `Usage: callplane calls cancel ID… [--reason TEXT] [--json]
       callplane calls cancel OPTIONS | --all [--reason TEXT] [--json]

${FILTER_HELP}
  --all       every call that has not ended
  --reason    what its caller is told
  --json      what became of each id, or the totals

A function that runs learns of it with its next heartbeat. A call that has ended keeps its end.
By ids it needs a key with the scope call, and exits with 1 where one is unknown; by options watch too.`,

  async run(args) {
    const { values, positionals } = readArgs(args, { ...FILTER_OPTIONS, reason: { type: 'string' } }, Infinity)
    const target = readTarget(positionals, values, { state: ['pending', 'running'] })
    const { reason } = values
    await withPlane(async (plane) => {
      const { calls } = admin(plane)
      if (Array.isArray(target)) return tell(await calls.cancel(target, { reason }), values.json)
      const { step, end } = progress()
      const totals = await calls.cancel(target, { reason, onStep: step }).finally(end)
      if (values.json) return console.log(JSON.stringify(totals))
      if (totals.cancelled + totals.ended === 0) return console.log('No call that fits is waiting or running.')
      const late = totals.ended === 0 ? '' : `; ${count(totals.ended, 'call')} ended first`
      console.log(`Cancelled ${count(totals.cancelled, 'call')}${late}.`)
    })
  },
}

function tell(calls: readonly CancelledCall[], isJson: boolean): void {
  if (calls.some((call) => 'error' in call)) process.exitCode = 1
  if (isJson) return console.log(JSON.stringify(toJson(calls)))
  for (const call of calls) {
    if ('error' in call) console.error(`${call.id}  ${call.error.message}`)
    else console.log(`${call.id}  ${call.state === 'cancelled' ? 'cancelled' : `had ended: ${call.state}`}`)
  }
}
