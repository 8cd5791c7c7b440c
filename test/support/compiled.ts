// Node keeps what it compiled: the processes of a test then start in a third of the time, of which some tests have many.
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** For the environment of each. */
export const COMPILED = { NODE_COMPILE_CACHE: join(tmpdir(), 'callplane-compiled') }
