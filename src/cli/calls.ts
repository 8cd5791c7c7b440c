// `callplane calls`: the calls of a namespace, for those who operate them.
import { cancelCalls } from './calls-cancel.ts'
import { listCalls } from './calls-list.ts'
import { redriveCalls } from './calls-redrive.ts'
import { showCall } from './calls-show.ts'
import { UsageError, type Command } from './command.ts'

const commands = { list: listCalls, show: showCall, cancel: cancelCalls, redrive: redriveCalls }

export const calls: Command = {
  summary: 'lists, shows, cancels and redrives calls',
  help: `Usage: callplane calls COMMAND [OPTIONS]

${Object.entries(commands)
  .map(([name, { summary }]) => `  ${name.padEnd(8)} ${summary}`)
  .join('\n')}

callplane calls COMMAND --help tells more.

  CALLPLANE_URL  the plane, default http://127.0.0.1:8787
  CALLPLANE_KEY  a key; default that of the embedded plane in CALLPLANE_DIR (.callplane)`,
  commands,

  async run(args) {
    const [word] = args
    const what = word === undefined ? 'say which command' : `there is no command "${word}"`
    throw new UsageError(`${what}: use one of ${Object.keys(commands).join(', ')}`)
  },
}
