// When a peer that shares queries invites others: as it begins, and now and then while the log goes on.
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Neighbours } from '../../src/live/neighbours.ts'
import { Presence } from '../../src/live/presence.ts'

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'performance'] }))
afterEach(() => void vi.useRealTimers())

const EVERY_MS = 10_000

function setup({ areOthers = true } = {}) {
  const [namespace, peer] = ['n', crypto.randomUUID()]
  let [renewals, invitations] = [0, 0]
  const presence = new Presence({
    sql: async () => {
      renewals++
      return []
    },
    namespace,
    peer,
    load: () => ({ tick: 0, clients: 1, slowClients: 0, queries: 0, rows: 0, bytes: 0 }),
    arm: async () => {},
  })
  const neighbours = new Neighbours({
    namespace,
    peer,
    presence,
    dial: () => ({ send() {}, close() {} }),
    invite: async () => {
      invitations++
      return areOthers
    },
    inviteEveryMs: EVERY_MS,
    listen: async () => {},
    leave: () => {},
  })
  return { neighbours, renewals: () => renewals, invitations: () => invitations }
}

test('who is there is asked once those that were invited have had time to come, whichever query begins first', async () => {
  const { neighbours, renewals, invitations } = setup()
  const looks = [neighbours.look(1), neighbours.look(1)]
  await vi.advanceTimersByTimeAsync(499)
  expect([invitations(), renewals()]).toEqual([1, 0])
  await vi.advanceTimersByTimeAsync(1)
  await Promise.all(looks)
  expect(renewals()).toBe(2)
})

test('a process that is alone waits for nobody', async () => {
  const { neighbours, renewals } = setup({ areOthers: false })
  await neighbours.look(1)
  expect(renewals()).toBe(1)
})

test('others are invited again while the log goes on, but not often, and not over an idle one', async () => {
  const { neighbours, invitations } = setup({ areOthers: false })
  await neighbours.look(1)
  neighbours.stepped(2)
  expect(invitations()).toBe(1)
  vi.advanceTimersByTime(EVERY_MS)
  neighbours.stepped(1)
  expect(invitations()).toBe(1)
  neighbours.stepped(2)
  neighbours.stepped(3)
  expect(invitations()).toBe(2)
})
