// A runner process of the benchmark: `add`, a hundred at once.
import { Callplane } from 'callplane'

const plane = new Callplane()
const adder = plane.service('adder', { functions: { add: (n: number) => n + 1 }, slots: 100 })
export type Adder = typeof adder

process.once('SIGTERM', () => plane.close())
await adder.start()
console.log('ready')
