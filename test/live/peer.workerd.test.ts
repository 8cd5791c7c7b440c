// A peer and its clients on Cloudflare: the same as on Node, with the Durable Objects in between.
import { peerSuite } from './peer-suite.ts'
import { newStage } from './stage.workerd.ts'

peerSuite(newStage, { isSettable: false })
