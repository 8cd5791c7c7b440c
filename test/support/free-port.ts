// A port of this machine that nobody listens on, for a process that must find it again after a restart.
import { createServer, type AddressInfo } from 'node:net'

export async function freePort(): Promise<string> {
  const probe = createServer()
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve))
  const { port } = probe.address() as AddressInfo // a TCP server that listens has one
  await new Promise((resolve) => probe.close(resolve))
  return String(port)
}
