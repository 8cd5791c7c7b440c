// `callplane watch`: a live query, on a terminal as a table that stays in its place, else as a JSON object a change.
import { once } from 'node:events'
import { BUILT_IN_QUERIES } from '../protocol/built-in-queries.ts'
import type { Live, LiveChange } from '../sdk/index.ts'
import { readArgs, stopSignal, type Command } from './command.ts'
import { linesOf, screen } from './live-table.ts'
import { withPlane } from './plane.ts'

/** What each built-in query shows. */
export const BUILT_IN: Record<string, string> = {
  queues: 'what waits, by service, and since when',
  running: 'what runs, by runner and service',
  rates: 'what ended in a minute, in five and in an hour, and the share of it that failed',
  latency: 'how long the calls of the last hour waited and ran',
  slowest: 'what has been running for longest',
  dead: 'what failed last and was not redriven since',
  runners: 'the runners that have not left',
}

const list = () => Object.entries(BUILT_IN).map(([name, summary]) => `  ${name.padEnd(8)} ${summary}`)

export const watch: Command = {
  summary: 'shows a live query while it changes',
  help: `Usage: callplane watch QUERY [--json]
       callplane watch

Shows the result of a query and keeps it up to date, until Ctrl-C. Without QUERY it lists the built-in ones:

${list().join('\n')}

QUERY may also be the name of a query that some client has registered.

  --json   prints { query, tick, diffs } for each change, a line each; diffs are [row, diff]: how often the row came, or
           below 0 went. The first has the whole result. Without a terminal this is the default.

Needs a key with the scope watch.

  CALLPLANE_URL  the plane, default http://127.0.0.1:8787
  CALLPLANE_KEY  a key; default that of the embedded plane in CALLPLANE_DIR (.callplane)`,

  async run(args) {
    const { values, positionals } = readArgs(args, { json: { type: 'boolean', default: false } }, 1)
    const [name] = positionals
    if (name === undefined) return console.log(['Built-in queries:', '', ...list()].join('\n'))
    const { stdout } = process
    const isTable = stdout.isTTY && !values.json
    // Whoever reads may leave: `callplane watch dead | head`.
    const ended = Promise.race([stopSignal(), new Promise((resolve) => stdout.on('error', resolve))])
    await withPlane(({ live }) => follow(live, name, { show: isTable ? drawOn(stdout) : printOn(stdout), ended }))
  },
}

/** A change, and whether its rows are in an order of their own. */
export type Show = (name: string, change: LiveChange<object>, isOrdered: boolean) => unknown

/** Shows each change, one after the other, until `ended`. */
export async function follow(
  live: Live,
  name: string,
  { show, ended }: { show: Show; ended: Promise<unknown> },
): Promise<void> {
  const plan = BUILT_IN_QUERIES.get(name)
  const changes = plan === undefined ? live.watch(name) : live.watch({ name, plan, row: {} })
  void ended.then(() => changes.return())
  for await (const change of changes) await show(name, change, plan?.op === 'top')
}

/** One JSON object a line. Waits for a reader that is slow, so that what comes meanwhile is summed. */
export function printOn(out: NodeJS.WritableStream): Show {
  return async (query, { tick, diffs }) => {
    if (!out.write(`${JSON.stringify({ query, tick, diffs })}\n`)) await once(out, 'drain').catch(() => {})
  }
}

interface Terminal {
  write(text: string): unknown
  on(event: 'resize', listener: () => void): unknown
  readonly columns: number
  readonly rows: number
}

/** A table in its place; drawn anew also where the terminal changes its size. */
export function drawOn(out: Terminal): Show {
  const draw = screen(out)
  let redraw = () => {}
  out.on('resize', () => redraw())
  return (name, { tick, rows }, isOrdered) => {
    redraw = () => draw(linesOf({ name, tick, rows, isOrdered }, { columns: out.columns || 80, rows: out.rows || 24 }))
    redraw()
  }
}
