// The suite on Node: the real app on the embedded Postgres, in this process.
import { afterEach, expect } from 'vitest'
import { setup } from '../support/plane.ts'
import { endToEnd } from './end-to-end.ts'

const unhandled: unknown[] = []
process.on('unhandledRejection', (reason) => unhandled.push(reason))
afterEach(() => expect(unhandled.splice(0)).toEqual([]))

endToEnd(setup)
