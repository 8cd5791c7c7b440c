// `callplane migrate`: brings a database to the schema of this build.
import { migrateDatabase } from '../node.ts'
import { readArgs, readDatabaseUrl, type Command } from './command.ts'

export const migrate: Command = {
  summary: 'brings DATABASE_URL to the schema of this build',
  help: `Usage: callplane migrate [--json]

Creates or upgrades the schema "callplane" in DATABASE_URL. Safe to run again, and from two places at once.
Run it before the new build starts: migrations only add, so that the old build goes on working meanwhile.`,

  async run(args) {
    const { values } = readArgs(args, { json: { type: 'boolean', default: false } })
    const databaseUrl = readDatabaseUrl('to migrate')
    const migrated = await migrateDatabase(databaseUrl)
    if (values.json) return console.log(JSON.stringify(migrated))
    const { from, to, applied } = migrated
    console.log(
      from === to && applied.length === 0
        ? `the schema is at version ${to}: nothing to do`
        : `the schema went from version ${from} to ${to} (${applied.join(', ')})`,
    )
  },
}
