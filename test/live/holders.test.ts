// Who holds which piece: evenly, the same for all who know the same peers, and little moves.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { holdersOf } from '../../src/live/holders.ts'

const anyPeers = fc.uniqueArray(fc.uuid(), { minLength: 1, maxLength: 20 })
const anyShards = fc.integer({ min: 1, max: 64 })

test('each piece has a holder, and none has more than its share, in whichever order the peers are known', () => {
  fc.assert(
    fc.property(anyPeers, anyShards, fc.string(), (peers, shards, name) => {
      const holders = holdersOf(name, shards, peers)
      expect(holders).toHaveLength(shards)
      const loads = peers.map((peer) => holders.filter((holder) => holder === peer).length)
      expect(loads.reduce((a, b) => a + b)).toBe(shards)
      expect(Math.max(...loads)).toBeLessThanOrEqual(Math.ceil(shards / peers.length))
      expect(holdersOf(name, shards, peers.toReversed())).toEqual(holders)
    }),
  )
})

test('where a peer goes, its pieces move, and few others', () => {
  const peers = Array.from({ length: 8 }, (_, n) => `peer ${n}`)
  let [moved, needed] = [0, 0]
  for (let query = 0; query < 50; query++) {
    const before = holdersOf(`query ${query}`, 64, peers)
    const after = holdersOf(`query ${query}`, 64, peers.slice(1))
    moved += before.filter((peer, at) => peer !== after[at]).length
    needed += before.filter((peer) => peer === peers[0]).length
  }
  expect(moved).toBeLessThan(needed * 3)
})

test('queries of one piece are spread', () => {
  const peers = ['a', 'b', 'c']
  const holders = Array.from({ length: 300 }, (_, n) => holdersOf(`query ${n}`, 1, peers)[0])
  for (const peer of peers) expect(holders.filter((one) => one === peer).length).toBeGreaterThan(60)
})
