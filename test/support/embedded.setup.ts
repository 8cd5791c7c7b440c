// For vitest's globalSetup: an empty embedded database, made when the first test asks, of which all others are copies.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestProject } from 'vitest/node'
import { openEmbedded } from '../../src/db/pglite.node.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** Answers the data directory of the empty database, as PGlite dumps it. */
    emptyDatabase: string
  }
}

async function emptyDatabase(): Promise<Buffer> {
  const { engine, close } = await openEmbedded(null)
  const dump = await engine.dumpDataDir('none')
  await close()
  return Buffer.from(await dump.arrayBuffer())
}

export default async function setup(project: TestProject): Promise<() => void> {
  let dump: Promise<Buffer> | undefined
  const server = createServer((_request, response) => {
    dump ??= emptyDatabase()
    dump.then(
      (bytes) => response.end(bytes),
      (error: unknown) => response.writeHead(500).end(String(error)),
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo // It listens on TCP: neither null nor a path.
  project.provide('emptyDatabase', `http://127.0.0.1:${port}`)
  return () => {
    server.close()
    server.closeAllConnections()
  }
}
