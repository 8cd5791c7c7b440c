// The alarm of one process: one timer, at the earliest time that anyone asked for.
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { sweepAlarm } from '../../src/bell/alarm.ts'

beforeEach(() => vi.useFakeTimers())
afterEach(() => vi.useRealTimers())

function setup(answers: (number | null | Error)[] = []) {
  const ranAtMs: number[] = []
  const beganMs = performance.now()
  const alarm = sweepAlarm(async () => {
    ranAtMs.push(Math.round(performance.now() - beganMs))
    const answer = answers.shift() ?? null
    if (answer instanceof Error) throw answer
    return answer
  })
  return { alarm, ranAtMs }
}

test('rings at the earliest of the times, and once', async () => {
  const { alarm, ranAtMs } = setup()
  alarm.by(5_000)
  alarm.by(2_000)
  alarm.by(9_000)
  await vi.advanceTimersByTimeAsync(20_000)
  expect(ranAtMs).toEqual([2_000])
})

test('goes on with what the sweep says, but never in a tight loop', async () => {
  const { alarm, ranAtMs } = setup([3_000, 0, null])
  alarm.by(1_000)
  await vi.advanceTimersByTimeAsync(60_000)
  expect(ranAtMs).toEqual([1_000, 4_000, 4_250])
})

test('tries again a second after a failure', async () => {
  const { alarm, ranAtMs } = setup([new Error('no database'), null])
  alarm.by(0)
  await vi.advanceTimersByTimeAsync(10_000)
  expect(ranAtMs).toEqual([0, 1_000])
})

test('a time that is named while the sweep runs is kept, and two sweeps never run at once', async () => {
  const ran: string[] = []
  const { promise, resolve } = Promise.withResolvers<void>()
  const alarm = sweepAlarm(async () => {
    ran.push('begins')
    await promise
    ran.push('ends')
    return null
  })
  alarm.by(0)
  await vi.advanceTimersByTimeAsync(10)
  alarm.by(0)
  await vi.advanceTimersByTimeAsync(1_000)
  expect(ran).toEqual(['begins'])
  resolve()
  await vi.advanceTimersByTimeAsync(1_000)
  expect(ran).toEqual(['begins', 'ends', 'begins', 'ends'])
})

test('waits longer than a timer can, and is silent once it is stopped', async () => {
  const { alarm, ranAtMs } = setup()
  const days30 = 30 * 86_400_000
  alarm.by(days30)
  await vi.advanceTimersByTimeAsync(1_000)
  expect(ranAtMs).toEqual([])
  alarm.stop()
  alarm.by(1)
  await vi.advanceTimersByTimeAsync(2 * days30)
  expect(ranAtMs).toEqual([])
})
