// One runner process of a run: serves the work until it is told to end, or killed.
import { flushCompileCache } from 'node:module'
import { Callplane } from 'callplane'
import { History } from './history.ts'
import { workOf } from './work.ts'

const [file = '', namespace = '', policy = '{}', slots = '10'] = process.argv.slice(2)
const plane = new Callplane()
const work = workOf(plane, { history: new History(file), namespace }, JSON.parse(policy), Number(slots))

// Whoever started us is gone.
process.stdin.resume().once('end', () => process.exit())
process.once('SIGTERM', () => void plane.close().then(() => process.exit()))
// A killed process would not keep what the next one needs to start quickly.
flushCompileCache()
await work.start()
console.log('serving')
