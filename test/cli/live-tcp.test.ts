// CALLPLANE_LIVE_TCP: what it may say, and where that listens.
import { afterEach, expect, test, vi } from 'vitest'
import { readLiveTcp } from '../../src/cli/command.ts'

afterEach(() => void vi.unstubAllEnvs())

test.each([
  ['', undefined],
  ['8788', { host: '127.0.0.1', port: 8788 }],
  [':8788', { host: '127.0.0.1', port: 8788 }],
  ['127.0.0.1:0', { host: '127.0.0.1', port: 0 }],
  ['0.0.0.0:8788', { host: '0.0.0.0', port: 8788 }],
  ['plane.internal:8788', { host: 'plane.internal', port: 8788 }],
  ['[::1]:8788', { host: '::1', port: 8788 }],
  ['[::]:8788', { host: '::', port: 8788 }],
])('"%s" is an address', (text, address) => {
  vi.stubEnv('CALLPLANE_LIVE_TCP', text)
  expect(readLiveTcp()).toEqual(address)
})

test.each(['yes', 'host', 'host:', ':', '65536', 'host:65536', '::1:8788', 'tcp://host:1', '1.5', '-1', 'host:1 '])(
  '"%s" is none',
  (text) => {
    vi.stubEnv('CALLPLANE_LIVE_TCP', text)
    expect(() => readLiveTcp()).toThrow(`CALLPLANE_LIVE_TCP is "${text}": write 127.0.0.1:8788`)
  },
)
