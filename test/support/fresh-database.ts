// An empty database on the real Postgres of this test run.
import { inject } from 'vitest'
import { createDatabase } from './postgres.ts'

/** Makes one and returns its URL; the first call of a run starts the server. It goes with the server. */
export async function freshDatabase(): Promise<string> {
  const answer = await fetch(inject('postgresStarter'))
  const text = await answer.text()
  if (!answer.ok) throw new Error(text)
  return createDatabase(text)
}
