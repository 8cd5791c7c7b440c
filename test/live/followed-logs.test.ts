// What a peer on Cloudflare tells a sequencer as it comes and goes, where each call may take its time.
import { expect, test, vi } from 'vitest'
import { FollowedLogs } from '../../src/live/followed-logs.ts'
import type { SequencerCalls } from '../../src/live/object-messages.ts'
import { OBJECT_MESSAGE_VERSION as v } from '../../src/protocol/object-message.ts'

const NAMESPACE = 'default'
const EVENTS = { begun: async () => {}, read: async () => {}, failed: () => {} }

/** What a sequencer knows of who follows it; a farewell comes when it is let through. */
function aSequencer() {
  const [followers, farewells]: [Set<string>, (() => void)[]] = [new Set(), []]
  const calls: SequencerCalls = {
    async follow({ peer }) {
      followers.add(peer)
      return { v, head: { tick: 7, baseTick: 0 }, tick: 7 }
    },
    async unfollow({ peer }) {
      await new Promise<void>((resolve) => farewells.push(resolve))
      followers.delete(peer)
    },
    poke: async () => {},
    armed: async () => {},
  }
  return { calls, followers, farewells }
}

function logsAt(sequencer: SequencerCalls) {
  const closed: string[] = []
  const logs = new FollowedLogs({
    peer: () => 'peer-1',
    sequencer: () => sequencer,
    closed: (namespace) => void closed.push(namespace),
  })
  return { logs, closed }
}

test('a log that is opened as the one before is given up follows once the sequencer knows of that', async () => {
  const { calls, followers, farewells } = aSequencer()
  const { logs, closed } = logsAt(calls)
  const before = logs.open(NAMESPACE, EVENTS, null)
  await expect.poll(() => [...followers]).toEqual(['peer-1'])
  const closing = before.close()
  expect(closed).toEqual([NAMESPACE])
  expect([...logs.namespaces]).toEqual([])
  const begun = vi.fn<() => Promise<void>>(async () => {})
  const after = logs.open(NAMESPACE, { ...EVENTS, begun }, null)
  expect(logs.of(NAMESPACE)).toBe(after)
  await expect.poll(() => farewells.length).toBe(1)
  farewells[0]?.()
  await closing
  await expect.poll(() => begun.mock.calls.length).toBe(1)
  expect([...followers]).toEqual(['peer-1'])
})

test('that the log begins anew is taken in once, however often it is said', async () => {
  const { calls } = aSequencer()
  const begun = vi.fn<(head: { tick: number }) => Promise<void>>(async () => {})
  const log = logsAt(calls).logs.open(NAMESPACE, { ...EVENTS, begun }, null)
  await expect.poll(() => begun.mock.calls.length).toBe(1)
  const message = { v, namespace: NAMESPACE, begun: { tick: 20, baseTick: 18 } } as const
  for (let n = 0; n < 3; n++) await log.hear(message)
  expect(begun.mock.calls.map(([{ tick }]) => tick)).toEqual([7, 20])
})

test('farewells of one namespace come one after the other, and hold up no other', async () => {
  const { calls, followers, farewells } = aSequencer()
  const { logs } = logsAt(calls)
  void logs.leave(NAMESPACE)
  const second = logs.leave(NAMESPACE)
  await expect.poll(() => farewells.length).toBe(1)
  logs.open('another', EVENTS, null)
  await expect.poll(() => followers.size).toBe(1)
  farewells[0]?.()
  await expect.poll(() => farewells.length).toBe(2)
  farewells[1]?.()
  await second
})

test('a sequencer that never hears of a farewell holds up who comes next for seconds alone', async () => {
  vi.useFakeTimers()
  try {
    const { calls, followers } = aSequencer()
    const { logs } = logsAt(calls)
    void logs.leave(NAMESPACE)
    logs.open(NAMESPACE, EVENTS, null)
    await vi.advanceTimersByTimeAsync(4_900)
    expect(followers.size).toBe(0)
    await vi.advanceTimersByTimeAsync(200)
    expect(followers.size).toBe(1)
  } finally {
    vi.useRealTimers()
  }
})
