// Where other peers reach this one: as it is told, else as its listener and the network of its host say.
import { networkInterfaces } from 'node:os'
import { showAddress, type TcpAddress } from './tcp.node.ts'

/** Of a listener on all addresses the first of this host that others can see; null: there is none. */
export function peerAddress({ host, port }: TcpAddress): string | null {
  const isEverywhere = host === '0.0.0.0' || host === '::'
  const seen = isEverywhere ? outerAddress() : host
  return seen === null ? null : `http://${showAddress({ host: seen, port })}`
}

function outerAddress(): string | null {
  const all = Object.values(networkInterfaces()).flatMap((of) => of ?? [])
  return all.find(({ family, internal }) => family === 'IPv4' && !internal)?.address ?? null
}
