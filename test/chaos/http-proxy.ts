// A way to a plane that reads HTTP: it counts requests, and can lose an answer after the plane has committed it.
import { Agent, createServer, request as send, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Exchange {
  path: string
  body: Buffer
  answer: Buffer
}

export interface HttpProxy {
  url: string
  /** When each request came, by performance.now(). */
  readonly requestsAtMs: number[]
  close(): Promise<void>
}

/** Answers that come in pieces go on as they come: to hold them back would be another fault. */
const STREAMED = new Set(['/v1/calls/wait'])

/** `isLost` sees each whole answer, and says whether the connection breaks in its place. */
export async function startHttpProxy(
  target: string,
  { isLost }: { isLost?: (exchange: Exchange) => boolean } = {},
): Promise<HttpProxy> {
  const agent = new Agent({ keepAlive: true })
  const requestsAtMs: number[] = []

  async function pass(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    requestsAtMs.push(performance.now())
    const path = incoming.url ?? '/'
    const body = await readAll(incoming)
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
    const { method, headers } = incoming
    const upstream = send(target + path, { method, headers, agent }, resolve)
    upstream.on('error', reject).end(body)
    // Who gave up waiting must not hold a poll open at the plane.
    outgoing.once('close', () => upstream.destroy())
    const answer = await promise
    const head = [answer.statusCode ?? 502, answer.headers] as const
    if (isLost === undefined || STREAMED.has(path)) {
      answer.on('error', () => incoming.socket.destroy()).pipe(outgoing.writeHead(...head))
      return
    }
    const whole = await readAll(answer)
    if (isLost({ path, body, answer: whole })) incoming.socket.resetAndDestroy()
    else outgoing.writeHead(...head).end(whole)
  }

  const server = createServer((incoming, outgoing) => {
    // What the plane's side does to us, we do to the client's.
    pass(incoming, outgoing).catch(() => incoming.socket.resetAndDestroy())
  })
  server.keepAliveTimeout = 75_000
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo // it listens on TCP: neither null nor a path
  return {
    url: `http://127.0.0.1:${port}`,
    requestsAtMs,
    close: () =>
      new Promise((resolve) => {
        agent.destroy()
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

async function readAll(stream: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks)
}
