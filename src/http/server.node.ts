// The HTTP server around the application on Node: how long it waits for clients, and how it ends.
import type { Server } from 'node:http'

/** Requests that do not finish by themselves when the plane closes are cut after this. */
const CLOSE_WITHIN_MS = 10_000

export function tuneServer(server: Server): void {
  // Longer than a client keeps an idle connection: else it sends a request into one that is just being closed.
  server.keepAliveTimeout = 75_000
  // A body that trickles in holds what was known of its key when it began.
  server.requestTimeout = 20_000
}

export async function closeServer(server: Server, wakeAll: () => void): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  wakeAll()
  // A poll that is being answered now keeps its connection open for the next: ask until none is left.
  const idle = setInterval(() => {
    wakeAll()
    server.closeIdleConnections()
  }, 50)
  const cut = setTimeout(() => server.closeAllConnections(), CLOSE_WITHIN_MS)
  server.closeIdleConnections()
  await closed
  clearInterval(idle)
  clearTimeout(cut)
}
