// Peers of live queries, as those who run the plane see them.
import { instant } from './calls.ts'
import type { Endpoint } from './endpoint.ts'
import { answer, array, boolean, integer, uuid, type TypeOf } from './shape.ts'

const count = (description: string) => integer({ min: 0, max: Number.MAX_SAFE_INTEGER, description })

const peerListed = answer({
  id: uuid(),
  startedAt: instant('since when it is there'),
  seenAt: instant('when it last told what follows: every few seconds, while something happens'),
  isAwake: boolean(),
  tick: count('how far it has come in the log'),
  lag: count('ticks from there to the end of the log'),
  clients: count('connected to it'),
  slowClients: count('of these, who leave unread what they are sent'),
  queries: count('that run there'),
  rows: count('that they hold in all of their operators'),
  bytes: count('of memory that these take, about'),
})
export type PeerListed = TypeOf<typeof peerListed>

export const listPeersAnswer = answer({ peers: array(peerListed, { max: 10_000 }) })

export const listPeers: Endpoint<never, TypeOf<typeof listPeersAnswer>> = {
  method: 'GET',
  path: '/v1/peers',
  scope: 'watch',
  summary: 'Lists the peers of live queries that have clients in the namespace, or share its queries.',
  request: null,
  answer: listPeersAnswer,
  form: 'either',
}
