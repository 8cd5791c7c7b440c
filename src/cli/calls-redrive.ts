// `callplane calls redrive`: runs calls anew that have ended.
import { toJson } from '../protocol/json-value.ts'
import { admin, type RedrivenCall } from '../sdk/admin.ts'
import { FILTER_HELP, FILTER_OPTIONS, readTarget } from './calls-filter.ts'
import { readArgs, type Command } from './command.ts'
import { withPlane } from './plane.ts'
import { count, progress } from './printable.ts'

export const redriveCalls: Command = {
  summary: 'runs calls anew that have ended',
  help: `Usage: callplane calls redrive ID… [--json]
       callplane calls redrive OPTIONS | --failed | --all [--json]

${FILTER_HELP}
  --all       every failed call
  --json      what became of each id, or the totals

Each call runs anew as a new one, with the same arguments. A call is redriven once: to run it once more, redrive
the new one. Options without --state take failed calls, and pass over those that are redriven already.
By ids it needs a key with the scope call; by options, admin. It exits with 1 where a call was not redriven.`,

  async run(args) {
    const { values, positionals } = readArgs(args, FILTER_OPTIONS, Infinity)
    const target = readTarget(positionals, values, { state: 'failed' })
    await withPlane(async (plane) => {
      const { calls } = admin(plane)
      if (Array.isArray(target)) return tell(await calls.redrive(target), values.json)
      const { step, end } = progress()
      const totals = await calls.redrive(target, { onStep: step }).finally(end)
      if (totals.refused.length > 0) process.exitCode = 1
      if (values.json) return console.log(JSON.stringify(toJson(totals)))
      for (const { id, error } of totals.refused) console.error(`${id}  ${error.message}`)
      if (totals.redriven + totals.repeated + totals.refused.length === 0) {
        return console.log('No call fits that has ended and is not redriven already.')
      }
      console.log(`${count(totals.redriven, 'call')} will run anew.`)
    })
  },
}

function tell(calls: readonly RedrivenCall[], isJson: boolean): void {
  if (calls.some((call) => 'error' in call)) process.exitCode = 1
  if (isJson) return console.log(JSON.stringify(toJson(calls)))
  for (const call of calls) {
    if ('error' in call) console.error(`${call.id}  ${call.error.message}`)
    else console.log(`${call.id}  ${call.isNew ? 'runs anew as' : 'was redriven before, as'} ${call.redrivenAs}`)
  }
}
