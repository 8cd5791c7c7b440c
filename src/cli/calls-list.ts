// `callplane calls list`: calls that fit, newest first.
import { toJson } from '../protocol/json-value.ts'
import { admin, type CallSummary } from '../sdk/admin.ts'
import { FILTER_HELP, FILTER_OPTIONS, readFilter } from './calls-filter.ts'
import { readArgs, UsageError, type Command } from './command.ts'
import { showDuration } from './duration.ts'
import { withPlane } from './plane.ts'
import { linesOfTable } from './table.ts'

export const listCalls: Command = {
  summary: 'calls that fit, newest first',
  help: `Usage: callplane calls list [OPTIONS] [--limit 50 | --all] [--json]

${FILTER_HELP}
  --limit     so many at most; default 50
  --all       all that fit
  --json      a JSON array

Needs a key with the scope watch.`,

  async run(args) {
    const { values } = readArgs(args, { ...FILTER_OPTIONS, limit: { type: 'string' } })
    const limit = readLimit(values.limit, values.all)
    const filter = readFilter(values)
    const found: CallSummary[] = []
    const isMore = await withPlane(async (plane) => {
      for await (const call of admin(plane).calls.list(filter)) {
        if (found.length === limit) return true
        found.push(call)
      }
      return false
    })
    if (values.json) return console.log(JSON.stringify(toJson(found)))
    if (found.length === 0) {
      return console.log(Object.keys(filter).length > 0 ? 'No call fits.' : 'No calls yet: "npm run demo" makes some.')
    }
    for (const line of linesOfTable([HEAD, ...found.map(cellsOf)])) console.log(line)
    if (isMore) console.log(`\nThere are more: --limit ${limit * 2}, or --all`)
  },
}

function readLimit(text: string | undefined, isAll: boolean): number {
  if (text !== undefined && isAll) throw new UsageError('--limit and --all do not go together')
  if (isAll) return Infinity
  const limit = Number(text ?? 50)
  if (!Number.isInteger(limit) || limit < 1) throw new UsageError(`--limit takes a number from 1, not "${text}"`)
  return limit
}

const HEAD = ['ID', 'FUNCTION', 'STATE', 'ATTEMPTS', 'MADE (UTC)', 'TOOK', '']

function cellsOf(call: CallSummary): string[] {
  const { id, service, function: name, state, failure, attempt, maxAttempts, createdAt, finishedAt } = call
  return [
    id,
    `${service}.${name}`,
    failure === undefined ? state : `${state}: ${failure}`,
    `${attempt} of ${maxAttempts}`,
    createdAt.toISOString().slice(0, 19).replace('T', ' '),
    finishedAt === undefined ? '' : showDuration(finishedAt.getTime() - createdAt.getTime()),
    call.redrivenAs === undefined ? '' : `redriven as ${call.redrivenAs}`,
  ]
}
