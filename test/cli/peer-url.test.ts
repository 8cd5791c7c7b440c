// Where other peers reach this one: what CALLPLANE_PEER_URL may say, and what is taken where it says nothing.
import { afterEach, expect, test, vi } from 'vitest'
import { readPeerUrl } from '../../src/cli/command.ts'
import { peerAddress } from '../../src/live/peer-address.node.ts'

afterEach(() => void vi.unstubAllEnvs())

test.each([
  ['', undefined],
  ['http://10.0.0.7:8787', 'http://10.0.0.7:8787'],
  ['https://plane-2.internal/', 'https://plane-2.internal'],
  ['http://[::1]:8787', 'http://[::1]:8787'],
])('"%s" is a URL', (text, url) => {
  vi.stubEnv('CALLPLANE_PEER_URL', text)
  expect(readPeerUrl()).toBe(url)
})

test.each(['here', '10.0.0.7:8787', 'ws://host:1', 'http://host/path', 'http://'])('"%s" is none', (text) => {
  vi.stubEnv('CALLPLANE_PEER_URL', text)
  expect(() => readPeerUrl()).toThrow(`CALLPLANE_PEER_URL is "${text}": write http://host:port`)
})

test('a peer is reached where it listens, and where that is everywhere, at an address of its host', () => {
  expect(peerAddress({ host: '127.0.0.1', port: 1 })).toBe('http://127.0.0.1:1')
  expect(peerAddress({ host: '::1', port: 2 })).toBe('http://[::1]:2')
  const outer = peerAddress({ host: '0.0.0.0', port: 3 })
  expect(outer ?? 'none').toMatch(/^(none|http:\/\/(?!127\.)\d+\.\d+\.\d+\.\d+:3)$/)
})
