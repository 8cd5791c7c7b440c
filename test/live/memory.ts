// How much memory is held: for tests of what a client can make a peer keep.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { turns } from './echo.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void // the flag makes it

/** What is held, without what only waits to be collected. */
export async function memoryBytes(): Promise<number> {
  collect()
  await turns(2)
  collect()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}
