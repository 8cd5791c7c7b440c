// How often one request looks while it is rung for nothing: so often, and the client asks anew.
import { expect, test } from 'vitest'
import type { Bell } from '../../src/bell/bell.ts'
import { inProcessBell } from '../../src/bell/in-process.ts'
import { setup } from '../support/plane.ts'
import { aCall, create, pollOnce, post } from '../support/wire.ts'

/** Rings without a reason, whenever somebody waits. */
function restless(): Bell {
  const bell = inProcessBell({ lookEveryMs: Number.POSITIVE_INFINITY })
  return {
    ...bell,
    async join(interest) {
      const waiter = await bell.join(interest)
      return {
        isQuiet: false,
        isCalm: false,
        foundNothing() {},
        woken: async () => ({ why: 'rung', ended: [] }),
        leave: () => waiter.leave(),
      }
    },
  }
}

test('a poll is over after the tenth ring that brought nothing', async () => {
  const plane = await setup({ bell: restless() })
  await pollOnce(plane)
  plane.statements()
  expect((await pollOnce(plane, { waitMs: 20_000 })).jobs).toEqual([])
  expect(plane.statements()).toHaveLength(11) // a look before them, and one after each
})

test('a wait is over after forty looks, and says that it is not complete', async () => {
  const plane = await setup({ bell: restless() })
  const call = await aCall()
  await create(plane, [call])
  plane.statements()
  const { body } = await post(plane, '/v1/calls/wait', { ids: [call.id], waitMs: 20_000 })
  expect(body).toEqual([{ isComplete: false }])
  expect(plane.statements()).toHaveLength(40)
})
