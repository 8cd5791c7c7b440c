// Whatever a client sends to a peer on Node: see the suite.
import { hostileSuite } from './hostile-suite.ts'
import { newStage } from './stage.ts'

hostileSuite(newStage, { runs: process.env['CALLPLANE_LONG'] === '1' ? 2_000 : 50 })
