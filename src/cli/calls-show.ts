// `callplane calls show`: one call, with the timeline of its attempts.
import { inspect } from 'node:util'
import { toJson } from '../protocol/json-value.ts'
import { admin } from '../sdk/admin.ts'
import { readArgs, UsageError, type Command } from './command.ts'
import { withPlane } from './plane.ts'
import { printable } from './printable.ts'
import { timelineOf } from './timeline.ts'

export const showCall: Command = {
  summary: 'one call: its attempts, its result, what it threw',
  help: `Usage: callplane calls show ID [--json]

Draws the timeline of the call: when it was made, each attempt with its runner and its end, and how it ended.

Needs a key with the scope call.`,

  async run(args) {
    const { values, positionals } = readArgs(args, { json: { type: 'boolean', default: false } }, 1)
    const [id] = positionals
    if (id === undefined) throw new UsageError('say which: callplane calls show ID')
    const call = await withPlane((plane) => admin(plane).calls.get(id))
    if (values.json) return console.log(JSON.stringify(toJson(call)))
    const facts: [name: string, text: string | undefined][] = [
      ['made in', call.parent],
      ['runs anew', call.redrivenFrom],
      ['first of its line', call.origin === call.redrivenFrom ? undefined : call.origin],
      ['redriven as', call.redrivenAs],
      ['progress', shown(call.progress)],
      ['result', call.state === 'succeeded' ? (shown(call.result) ?? 'undefined') : undefined],
      ['error', shown(call.error)],
    ]
    console.log(
      [...timelineOf(call), '', ...facts.flatMap(([name, text]) => (text === undefined ? [] : lines(name, text)))]
        .join('\n')
        .trimEnd(),
    )
  },
}

function shown(value: unknown): string | undefined {
  if (value === undefined) return undefined
  return printable(inspect(value, { depth: 6, breakLength: 100, maxStringLength: 2_000, maxArrayLength: 50 }))
}

const WIDTH = 19

function lines(name: string, text: string): string[] {
  const [first = '', ...rest] = text.split('\n')
  return [`  ${name.padEnd(WIDTH)}${first}`, ...rest.map((line) => `  ${' '.repeat(WIDTH)}${line}`)]
}
