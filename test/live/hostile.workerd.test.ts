// Whatever a client sends to a peer on Cloudflare: see the suite.
import { env } from 'cloudflare:workers'
import { hostileSuite } from './hostile-suite.ts'
import { newStage } from './stage.workerd.ts'

hostileSuite(newStage, { runs: env.IS_LONG ? 400 : 20 })
