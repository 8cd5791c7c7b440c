// How long to wait before the next try: full jitter up to five seconds, and never more retries than are paid for.
import { expect, test, vi } from 'vitest'
import { Backoff, RetryBudget } from '../../src/sdk/backoff.ts'
import { fakeTime } from './fake-plane.ts'

test('the longest wait doubles from 50 ms to 5 s, and a success starts it anew', () => {
  fakeTime()
  vi.spyOn(Math, 'random').mockReturnValue(1)
  const backoff = new Backoff(new RetryBudget())
  expect(Array.from({ length: 8 }, () => backoff.failed(0))).toEqual([50, 100, 200, 400, 800, 1_600, 3_200, 5_000])
  backoff.succeeded()
  expect(backoff.failed(0)).toBe(50)
  vi.mocked(Math.random).mockReturnValue(0)
  expect(backoff.failed(0)).toBe(0)
  vi.restoreAllMocks()
})

test('the waits are spread over the whole range', () => {
  fakeTime()
  const waits = Array.from({ length: 1_000 }, () => {
    const backoff = new Backoff(new RetryBudget())
    for (let n = 0; n < 7; n++) backoff.failed(0)
    return backoff.failed(0)
  })
  expect(Math.min(...waits)).toBeLessThan(250)
  expect(Math.max(...waits)).toBeGreaterThan(4_750)
})

test('ten retries are free, then one a second, and a tenth of one for each answer', () => {
  fakeTime()
  const budget = new RetryBudget()
  expect(Array.from({ length: 12 }, () => budget.spend())).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1_000, 2_000])
  vi.advanceTimersByTime(3_000)
  expect(budget.spend()).toBe(0)
  expect(budget.spend()).toBe(1_000)
  for (let n = 0; n < 20; n++) budget.answered()
  expect(Math.round(budget.spend())).toBe(0)
  expect(Math.round(budget.spend())).toBe(1_000)
})

test('a plane that asks for time gets it, up to five minutes', () => {
  fakeTime()
  vi.spyOn(Math, 'random').mockReturnValue(0.5)
  const backoff = new Backoff(new RetryBudget())
  expect(backoff.failed(7_000)).toBe(7_025)
  expect(backoff.failed(3_600_000)).toBe(300_050)
  vi.restoreAllMocks()
})
