#!/usr/bin/env node
// The command line: picks the command, prints errors as one clear line, and sets the exit code.
import { dev } from './dev.ts'
import { keys } from './keys.ts'
import { migrate } from './migrate.ts'
import { fail, UsageError, type Command } from './command.ts'
import { serve } from './serve.ts'

const COMMANDS: Record<string, Command> = { dev, serve, migrate, keys }

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

const [name, ...args] = process.argv.slice(2)
const command = name !== undefined && Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
if (name === undefined || name === '--help' || name === 'help') {
  console.log(help())
  if (name === undefined) process.exitCode = 2
} else if (command === undefined) {
  console.error(`callplane: there is no command "${name}"; callplane --help lists them`)
  process.exitCode = 2
} else if (args.includes('--help')) {
  console.log(command.help)
} else {
  try {
    await command.run(args)
  } catch (error) {
    fail(name, error)
    if (error instanceof UsageError) process.exitCode = 2
  }
}
