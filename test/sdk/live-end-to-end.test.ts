// The suite of live queries over the peer of the tests, which holds that to what the suite asks of a real one.
import { FakePeer } from './fake-peer.ts'
import { KEY } from './fake-plane.ts'
import { liveEndToEnd } from './live-end-to-end.ts'

liveEndToEnd(() => ({ url: 'http://plane.test', key: KEY, WebSocket: new FakePeer().WebSocket }))
