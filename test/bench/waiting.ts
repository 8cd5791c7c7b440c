// Many polls that wait, each on a connection of its own, without the cost of ten thousand runners.
import { connect, type Socket } from 'node:net'
import { encodeBody } from '../../src/protocol/wire.ts'

/** Opens them, a hundred at a time, and resolves when the plane holds them all. */
export async function holdPolls({
  url,
  key,
  count,
}: {
  url: string
  key: string
  count: number
}): Promise<{ release(): Promise<void> }> {
  const { hostname, port, host } = new URL(url)
  const sockets: Socket[] = []
  const services = [{ name: 'nobody', functions: ['calls'], capacity: 1 }]
  const open = async () => {
    const socket = connect(Number(port), hostname).on('error', () => {})
    sockets.push(socket)
    const body = encodeBody({
      runner: crypto.randomUUID(),
      claim: { id: crypto.randomUUID(), waitMs: 25_000, services },
    })
    const head = [
      'POST /v1/runners/poll HTTP/1.1',
      `host: ${host}`,
      `authorization: Bearer ${key}`,
      'content-type: application/msgpack',
      `content-length: ${body.length}`,
    ]
    await new Promise<void>((resolve) => socket.once('connect', resolve))
    socket.write(`${head.join('\r\n')}\r\n\r\n`)
    socket.write(body)
  }
  for (let made = 0; made < count; made += 100) await Promise.all(Array.from({ length: 100 }, open))
  await new Promise((resolve) => setTimeout(resolve, 3_000))
  return {
    async release() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => setTimeout(resolve, 1_000))
    },
  }
}
