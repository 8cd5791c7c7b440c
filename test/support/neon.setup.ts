// For the tests in workerd: Neon's SQL over HTTP in front of an embedded database, outside of workerd.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestProject } from 'vitest/node'
import { migrate } from '../../src/db/migrate.ts'
import { readSchema } from '../../src/db/migrations.node.ts'
import { startNeonEndpoint } from '../../src/db/neon-endpoint.node.ts'
import { openEmbedded } from '../../src/db/pglite.node.ts'
import { newKey } from '../../src/protocol/keys.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** What the Worker under test is bound to. */
    worker: {
      DATABASE_URL: string
      NEON_FETCH_ENDPOINT: string
      CALLPLANE_ADMIN_KEY: string
      /** '1' where the long suites run. */
      CALLPLANE_LONG: string
      /** Answers how many statements have reached the database; with `?since=N`, those that came after so many. */
      STATEMENTS_URL: string
      /** Whether the long suites run at their whole size. */
      IS_LONG: boolean
    }
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { sql, engine, close } = await openEmbedded(null)
  await migrate(sql, readSchema())
  const statements: string[] = []
  const endpoint = await startNeonEndpoint({ backend: engine, onQuery: ({ text }) => void statements.push(text) })
  const counter = createServer(({ url = '' }, response) => {
    const [, since] = url.split('?since=')
    response.end(since === undefined ? String(statements.length) : JSON.stringify(statements.slice(Number(since))))
  })
  await new Promise<void>((resolve) => counter.listen(0, '127.0.0.1', resolve))
  const { port } = counter.address() as AddressInfo // a TCP server that listens has one
  project.provide('worker', {
    DATABASE_URL: endpoint.connectionString,
    NEON_FETCH_ENDPOINT: endpoint.url,
    CALLPLANE_ADMIN_KEY: newKey().key,
    CALLPLANE_LONG: process.env['CALLPLANE_LONG'] ?? '',
    STATEMENTS_URL: `http://127.0.0.1:${port}/`,
    IS_LONG: process.env['CALLPLANE_LONG'] === '1',
  })
  return async () => {
    counter.close()
    await endpoint.close()
    await close()
  }
}
