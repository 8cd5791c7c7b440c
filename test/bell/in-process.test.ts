// The bell of one process: no ring is lost between joining and waiting, and none wakes more than it must.
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { inProcessBell } from '../../src/bell/in-process.ts'
import type { Bell, Waiter, Wake } from '../../src/bell/bell.ts'

const NAMESPACE = 'n'
const LONG_MS = 60_000

const newBell = () => inProcessBell({ lookEveryMs: Number.POSITIVE_INFINITY })
const runner = (bell: Bell, services = ['s'], claimId: string = crypto.randomUUID()) =>
  bell.join({ namespace: NAMESPACE, claimId, services, kind: services.join() })
const ringFor = (bell: Bell, service: string, jobs = 1, namespace = NAMESPACE) =>
  bell.ring({ namespace, due: [{ service, jobs }] })

/** Whether the waiter has been rung: a wait without time tells at once. */
const isRung = async (waiter: Waiter) => (await waiter.woken(0)).why === 'rung'

describe('runners', () => {
  test('a ring wakes who waits', async () => {
    const bell = newBell()
    const waiter = await runner(bell)
    const woken = waiter.woken(LONG_MS)
    await ringFor(bell, 's')
    expect(await woken).toEqual({ why: 'rung', ended: [] })
  })

  test('a ring between joining and waiting is kept', async () => {
    const bell = newBell()
    const waiter = await runner(bell)
    await ringFor(bell, 's')
    expect(await waiter.woken(LONG_MS)).toMatchObject({ why: 'rung' })
  })

  test('as many wake as there are jobs, the longest waiting first', async () => {
    const bell = newBell()
    const waiters = [await runner(bell), await runner(bell), await runner(bell)]
    await ringFor(bell, 's', 2)
    expect(await Promise.all(waiters.map(isRung))).toEqual([true, true, false])
  })

  test('who was rung and has not joined again is passed over by the next ring', async () => {
    const bell = newBell()
    const [first, second] = [await runner(bell), await runner(bell)]
    await ringFor(bell, 's')
    await ringFor(bell, 's')
    expect([await isRung(first), await isRung(second)]).toEqual([true, true])
  })

  test('a ring that a leaving poll did not look for is passed on', async () => {
    const bell = newBell()
    const [leaving, other] = [await runner(bell), await runner(bell)]
    await ringFor(bell, 's')
    leaving.leave()
    expect(await isRung(other)).toBe(true)
  })

  test('a ring that a poll was woken by, and will not look for, is passed on at once', async () => {
    const bell = newBell()
    const [first, second, third] = [await runner(bell), await runner(bell), await runner(bell)]
    await ringFor(bell, 's', 2)
    expect(await isRung(first)).toBe(true)
    first.leave(true)
    expect(await isRung(third)).toBe(true)
    expect(await isRung(second)).toBe(true)
    second.leave()
  })

  test('other services and other namespaces do not wake it', async () => {
    const bell = newBell()
    const waiter = await runner(bell)
    await ringFor(bell, 'other')
    await ringFor(bell, 's', 1, 'elsewhere')
    expect(await isRung(waiter)).toBe(false)
  })

  test('the same claim id again takes the place of the first', async () => {
    const bell = newBell()
    const claimId = crypto.randomUUID()
    const first = await runner(bell, ['s'], claimId)
    const woken = first.woken(LONG_MS)
    const second = await runner(bell, ['s'], claimId)
    expect(await woken).toEqual({ why: 'replaced' })
    // It stays replaced, and its leaving does not take the second along.
    expect(await first.woken(LONG_MS)).toEqual({ why: 'replaced' })
    first.leave()
    await ringFor(bell, 's')
    expect(await isRung(second)).toBe(true)
  })

  test('a poll that is looking is ended by a newer one with its claim id, and does not take the place back', async () => {
    const bell = newBell()
    const claimId = crypto.randomUUID()
    const older = await runner(bell, ['s'], claimId)
    await ringFor(bell, 's')
    const newer = await runner(bell, ['s'], claimId)
    expect(await older.woken(LONG_MS)).toEqual({ why: 'replaced' })
    older.leave()
    await ringFor(bell, 's')
    expect(await isRung(newer)).toBe(true)
  })

  test('an abort ends the wait', async () => {
    const bell = newBell()
    const controller = new AbortController()
    const woken = (await runner(bell)).woken(LONG_MS, controller.signal)
    controller.abort()
    expect(await woken).toEqual({ why: 'time' })
  })

  test('a ring for later comes later', async () => {
    const bell = newBell()
    const waiter = await runner(bell)
    await bell.ring({ namespace: NAMESPACE, due: [{ service: 's', jobs: 1, inMs: 20 }] })
    expect(await isRung(waiter)).toBe(false)
    expect(await waiter.woken(LONG_MS)).toMatchObject({ why: 'rung' })
  })
})

describe('a ring that nobody takes within a second', () => {
  async function setup(waiting: number) {
    vi.useFakeTimers()
    onTestFinished(() => void vi.useRealTimers())
    const bell = newBell()
    const claimIds = Array.from({ length: waiting }, () => crypto.randomUUID())
    const waiters: Waiter[] = []
    for (const claimId of claimIds) waiters.push(await runner(bell, ['s'], claimId))
    /** Who has been woken, in the order of joining. */
    const woken: number[] = []
    for (const [index, waiter] of waiters.entries()) {
      void waiter.woken(LONG_MS).then(({ why }) => why === 'rung' && woken.push(index))
    }
    /** A poll joins again, as it does before it looks. */
    const again = (index: number) => {
      waiters[index]?.leave()
      return runner(bell, ['s'], claimIds[index])
    }
    return { bell, waiters, claimIds, woken, again }
  }

  test('passes on from one who never looks again to the next, until one does', async () => {
    const { bell, woken, again } = await setup(4)
    await ringFor(bell, 's')
    await vi.advanceTimersByTimeAsync(999)
    expect(woken).toEqual([0])
    await vi.advanceTimersByTimeAsync(1)
    expect(woken).toEqual([0, 1])
    await vi.advanceTimersByTimeAsync(1_000)
    expect(woken).toEqual([0, 1, 2])
    const looking = await again(2)
    looking.foundNothing()
    expect(vi.getTimerCount()).toBe(1) // of the fourth, who still waits: the bell's own is gone
    await vi.advanceTimersByTimeAsync(10_000)
    expect(woken).toEqual([0, 1, 2])
  })

  test('stays with one who looks and leaves with jobs', async () => {
    const { bell, woken, again } = await setup(2)
    await ringFor(bell, 's')
    const looking = await again(0)
    await vi.advanceTimersByTimeAsync(900)
    looking.leave()
    await vi.advanceTimersByTimeAsync(10_000)
    expect(woken).toEqual([0])
  })

  test('passes on from a look that hangs, once: where every look is slow, more looks would not help', async () => {
    const { bell, woken, again } = await setup(3)
    await ringFor(bell, 's')
    await again(0)
    await vi.advanceTimersByTimeAsync(1_000)
    expect(woken).toEqual([0, 1])
    await again(1)
    await vi.advanceTimersByTimeAsync(10_000)
    expect(woken).toEqual([0, 1])
  })

  test('is not taken by a look that began before it', async () => {
    const { bell, again } = await setup(1)
    await ringFor(bell, 's')
    const looking = await again(0)
    const other = (await runner(bell)).woken(LONG_MS)
    await ringFor(bell, 's') // for the first, which looks still, and dies after it
    looking.foundNothing()
    await vi.advanceTimersByTimeAsync(1_000)
    expect(await other).toMatchObject({ why: 'rung' })
  })

  test('has a second of its own', async () => {
    const { bell, woken } = await setup(4)
    await ringFor(bell, 's')
    await vi.advanceTimersByTimeAsync(500)
    await ringFor(bell, 's')
    await vi.advanceTimersByTimeAsync(500)
    expect(woken).toEqual([0, 1, 2])
    await vi.advanceTimersByTimeAsync(500)
    expect(woken).toEqual([0, 1, 2, 3])
  })

  test('is not taken by the leaving of the waiter that was rung, which did not look', async () => {
    const { bell, waiters, claimIds, woken } = await setup(2)
    await ringFor(bell, 's')
    await runner(bell, ['s'], claimIds[0]) // a newer poll with its claim id, whose look hangs
    waiters[0]?.leave()
    await vi.advanceTimersByTimeAsync(1_000)
    expect(woken).toEqual([0, 1])
  })

  test('is not taken by the leaving of the poll whose place the rung one took', async () => {
    const { bell, waiters, claimIds } = await setup(1)
    await runner(bell, ['s'], claimIds[0])
    const other = (await runner(bell)).woken(LONG_MS)
    await ringFor(bell, 's')
    waiters[0]?.leave()
    await vi.advanceTimersByTimeAsync(1_000)
    expect(await other).toMatchObject({ why: 'rung' })
  })

  test('goes nowhere once the bell is closed', async () => {
    const { bell, woken } = await setup(2)
    await ringFor(bell, 's')
    bell.close()
    await vi.advanceTimersByTimeAsync(10_000)
    expect(woken).toEqual([0])
  })
})

describe('callers', () => {
  const caller = (bell: Bell, ...calls: string[]) => bell.join({ namespace: NAMESPACE, calls })
  const end = (bell: Bell, id: string) =>
    bell.ring({ namespace: NAMESPACE, ended: [{ id, outcome: { ended: 'cancelled', message: id } }] })
  const idsOf = (wake: Wake) => (wake.why === 'rung' ? wake.ended.map(({ id }) => id) : wake.why)

  test('all who wait for a call hear of its end, with its outcome', async () => {
    const bell = newBell()
    const waiters = [await caller(bell, 'a', 'b'), await caller(bell, 'a'), await caller(bell, 'b')]
    await end(bell, 'a')
    expect(await Promise.all(waiters.map((waiter) => waiter.woken(0).then(idsOf)))).toEqual([['a'], ['a'], 'time'])
  })

  test('rings before one look are joined, and later ones still come', async () => {
    const bell = newBell()
    const waiter = await caller(bell, 'a', 'b', 'c')
    await end(bell, 'a')
    await end(bell, 'b')
    expect(idsOf(await waiter.woken(LONG_MS))).toEqual(['a', 'b'])
    const woken = waiter.woken(LONG_MS)
    await end(bell, 'c')
    expect(idsOf(await woken)).toEqual(['c'])
  })
})

test('closing ends every wait', async () => {
  const bell = newBell()
  const waits = [await runner(bell), await bell.join({ namespace: NAMESPACE, calls: ['a'] })].map((waiter) =>
    waiter.woken(LONG_MS),
  )
  bell.close()
  expect(await Promise.all(waits)).toEqual([{ why: 'replaced' }, { why: 'replaced' }])
})

describe('calm', () => {
  const lookedAndFound = async (bell: Bell, services = ['s']) => {
    const waiter = await runner(bell, services)
    waiter.foundNothing()
    return waiter
  }
  const isCalm = async (bell: Bell, claimId?: string, services = ['s']) =>
    (await runner(bell, services, claimId)).isCalm

  test('a bell that knows of no look is not calm; after one that found nothing it is', async () => {
    const bell = newBell()
    expect(await isCalm(bell)).toBe(false)
    await lookedAndFound(bell)
    expect(await isCalm(bell)).toBe(true)
  })

  test('a ring that somebody took leaves it calm, for he looks', async () => {
    const bell = newBell()
    await lookedAndFound(bell)
    await ringFor(bell, 's')
    expect(await isCalm(bell)).toBe(true)
  })

  test('a ring that nobody took ends it, until a look has found nothing', async () => {
    const bell = newBell()
    const waiter = await lookedAndFound(bell)
    waiter.leave()
    await ringFor(bell, 's')
    expect(await isCalm(bell)).toBe(false)
    await lookedAndFound(bell)
    expect(await isCalm(bell)).toBe(true)
  })

  test('so does one for more jobs than waited, and one that everybody is to hear', async () => {
    const bell = newBell()
    await lookedAndFound(bell)
    await ringFor(bell, 's', 2)
    expect(await isCalm(bell)).toBe(false)
    await lookedAndFound(bell)
    bell.lookAgain()
    expect(await isCalm(bell)).toBe(false)
  })

  test('what one kind did not find says nothing of another', async () => {
    const bell = newBell()
    await lookedAndFound(bell)
    expect(await isCalm(bell, crypto.randomUUID(), ['s', 'other'])).toBe(false)
  })

  test('a claim that comes again is never calm: it may be after what it was given', async () => {
    const bell = newBell()
    await lookedAndFound(bell)
    const claimId = crypto.randomUUID()
    expect([await isCalm(bell, claimId), await isCalm(bell, claimId)]).toEqual([true, false])
  })
})
