// Which peer holds which piece: the same for whoever knows of the same peers, and little of it moves as they come and go.
import { hashOf } from './kernel/shard-hash.ts'

/** Of each piece its holder. No peer has more pieces than its share, rounded up. */
export function holdersOf(name: string, shards: number, peers: readonly string[]): string[] {
  const share = Math.ceil(shards / peers.length)
  const load = new Map(peers.map((peer) => [peer, 0]))
  const holders: string[] = []
  const wishes = Array.from({ length: shards }, (_, at) => at).flatMap((at) =>
    peers.map((peer) => ({ at, peer, weight: hashOf(`${name} ${at} ${peer}`) })),
  )
  for (const { at, peer } of wishes.toSorted((a, b) => b.weight - a.weight || (a.peer < b.peer ? -1 : 1))) {
    const held = load.get(peer) ?? 0
    if (holders[at] !== undefined || held >= share) continue
    holders[at] = peer
    load.set(peer, held + 1)
  }
  return holders
}
