#!/usr/bin/env -S node --max-semi-space-size=4
// The command line: picks the command, prints errors as one clear line, and sets the exit code. A plane holds many polls that
// wait: with a small young generation, what they leave behind takes a fifth less memory, and calls are as fast.
import { calls } from './calls.ts'
import { dev } from './dev.ts'
import { keys } from './keys.ts'
import { migrate } from './migrate.ts'
import { fail, UsageError, type Command } from './command.ts'
import { peers } from './peers.ts'
import { serve } from './serve.ts'
import { watch } from './watch.ts'

const COMMANDS: Record<string, Command> = { dev, serve, migrate, keys, calls, watch, peers }

function help(): string {
  const lines = Object.entries(COMMANDS).map(([name, command]) => `  ${name.padEnd(9)} ${command.summary}`)
  return [
    'Callplane: call functions across services, typed and durable.',
    '',
    'Usage: callplane COMMAND [OPTIONS]',
    '',
    ...lines,
    '',
    'callplane COMMAND --help tells more. Exit codes: 0 done, 1 failed, 2 used wrongly.',
  ].join('\n')
}

/** The command that the words name, one of its own where the next word is one, and the words that are left. */
function find(commands: Record<string, Command>, [word, ...rest]: string[], names: string[] = []): Found | null {
  const command = word !== undefined && Object.hasOwn(commands, word) ? commands[word] : undefined
  if (command === undefined || word === undefined) return null
  const path = [...names, word]
  return find(command.commands ?? {}, rest, path) ?? { command, name: path.join(' '), args: rest }
}

interface Found {
  command: Command
  name: string
  args: string[]
}

const [name, ...rest] = process.argv.slice(2)
const found = name === undefined ? null : find(COMMANDS, [name, ...rest])
if (name === undefined || name === '--help' || name === 'help') {
  console.log(help())
  if (name === undefined) process.exitCode = 2
} else if (found === null) {
  console.error(`callplane: there is no command "${name}"; callplane --help lists them`)
  process.exitCode = 2
} else if (found.args.includes('--help')) {
  console.log(found.command.help)
} else {
  try {
    await found.command.run(found.args)
  } catch (error) {
    fail(found.name, error)
    if (error instanceof UsageError) process.exitCode = 2
  }
}
