// For vitest's globalSetup: one Postgres for the whole run, started when the first test asks for a database.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestProject } from 'vitest/node'
import { startPostgres, type TestPostgres } from './postgres.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** Answers the URL of the server, once it runs. */
    postgresStarter: string
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  let postgres: Promise<TestPostgres> | undefined
  const starter = createServer((_request, response) => {
    postgres ??= startPostgres()
    postgres.then(
      ({ url }) => response.end(url),
      (error: unknown) => response.writeHead(500).end(String(error)),
    )
  })
  await new Promise<void>((resolve) => starter.listen(0, '127.0.0.1', resolve))
  const { port } = starter.address() as AddressInfo // It listens on TCP: neither null nor a path.
  project.provide('postgresStarter', `http://127.0.0.1:${port}`)
  return async () => {
    starter.close()
    starter.closeAllConnections()
    // A start that failed was reported to the tests that asked for it.
    await postgres?.then(({ stop }) => stop()).catch(() => {})
  }
}
