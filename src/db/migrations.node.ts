// Reads the schema and its migrations from the files that belong to this build.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import type { Migration } from './migrate.ts'

const SCHEMA = new URL('../../schema.sql', import.meta.url)
const MIGRATIONS = new URL('./migrations/', import.meta.url)

/** What `migrate` takes. */
export function readSchema(): { schema: string; migrations: Migration[] } {
  return { schema: readFileSync(SCHEMA, 'utf8'), migrations: readMigrations(MIGRATIONS) }
}

export function readMigrations(folder: URL): Migration[] {
  // Until there is a second version the folder is empty, and git keeps no empty folders.
  if (!existsSync(folder)) return []
  const files = readdirSync(folder).filter((file) => file.endsWith('.sql'))
  return files.toSorted().map((file) => {
    const version = Number(/^(\d{3})-[a-z0-9-]+\.sql$/.exec(file)?.[1])
    if (!version) throw new Error(`${file} in migrations is not named like 002-what-it-does.sql`)
    return { version, name: file, text: readFileSync(new URL(file, folder), 'utf8') }
  })
}
