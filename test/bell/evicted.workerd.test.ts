// The object of the bell is evicted all the time, and now and then takes no requests: no call is lost for it.
import { env } from 'cloudflare:workers'
import { evictDurableObject } from 'cloudflare:test'
import { Callplane } from 'callplane'
import { expect, onTestFinished, test, vi } from 'vitest'
import { durableObjectBell } from '../../src/bell/durable-object.workerd.ts'
import { SleepingBell } from '../../src/bell/sleeping-bell.workerd.ts'
import { createApp } from '../../src/http/app.ts'
import { setup, sql, type WorkerHost } from '../support/worker.ts'

const CALLS = env.IS_LONG ? 2_000 : 200
const AT_ONCE = 20
/** In calls. An eviction may take longer than those: the timer of an owed ring holds it up. */
const EVICTED_EVERY = 5
/** A ring that is lost costs its caller a poll of 25 s, which should be seldom. */
const WITHIN_MS = env.IS_LONG ? 600_000 : 90_000
/** Longer than the pause before a second try, and shorter than the last one. */
const OVERLOADED_FOR_MS = 300

/** While they are overloaded, the objects refuse everything, as those on Cloudflare do. Counts what was refused. */
function overloadable() {
  let isOverloaded = false
  const refused = { fetch: 0, arm: 0, ring: 0 }
  for (const method of ['fetch', 'arm', 'ring'] as const) {
    const original = SleepingBell.prototype[method] as (...args: unknown[]) => unknown // whichever of the three it is
    const spy = vi.spyOn(SleepingBell.prototype, method).mockImplementation(function (
      this: unknown,
      ...args: unknown[]
    ) {
      if (!isOverloaded) return original.apply(this, args) as never // what the method itself gives
      refused[method]++
      throw Object.assign(new Error('Durable Object is overloaded'), { overloaded: true, retryable: false })
    })
    onTestFinished(() => spy.mockRestore())
  }
  return {
    refused,
    overload() {
      isOverloaded = true
      setTimeout(() => (isOverloaded = false), OVERLOADED_FOR_MS)
    },
  }
}

/** Evicts the object when it is told to, unless it is still at it. */
function evictions(object: object): { readonly count: number; evict(): Promise<void>; closeSockets(): void } {
  let count = 0
  let mustClose = false
  let isEvicting = false
  return {
    get count() {
      return count
    },
    async evict() {
      if (isEvicting) return
      isEvicting = true
      const webSockets = mustClose ? 'close' : 'hibernate'
      try {
        await evictDurableObject(object, { webSockets })
        count++
        if (webSockets === 'close') mustClose = false
      } catch {
        // It has not been asked for anything since the last time.
      }
      isEvicting = false
    },
    closeSockets() {
      mustClose = true
    },
  }
}

/** Which isolate of the Worker answers: the one under test, or one that has just begun and so has armed nothing. */
function isolates({ options }: WorkerHost) {
  const statuses = new Set<number>()
  let serving = options.fetch
  return {
    statuses,
    async fetch(...args: Parameters<typeof fetch>) {
      const response = await serving(...args)
      statuses.add(response.status)
      return response
    },
    begin() {
      const app = createApp({ sql, bell: durableObjectBell(env.BELL) })
      serving = async (input, init) => app.fetch(new Request(input, init))
    },
    goBack() {
      serving = options.fetch
    },
  }
}

test(
  'every call is answered while the object is evicted as often as it pauses, and now and then overloaded',
  { timeout: WITHIN_MS },
  async () => {
    const plane = await setup()
    const { fetch, statuses, begin, goBack } = isolates(plane)
    const { refused, overload } = overloadable()
    const connected = new Callplane({ ...plane.options, fetch })
    onTestFinished(() => connected.close())
    const counter = connected.service('counter', { functions: { next: (n: number) => n + 1 }, slots: 10 })
    await counter.start()
    const { next } = connected.client<typeof counter>('counter')
    const evicted = evictions(env.BELL.getByName(plane.namespace))

    const answers: number[] = []
    let made = 0
    const lane = async () => {
      while (made < CALLS) {
        const n = made++
        if (n % 200 === 50) begin()
        if (n % 200 === 100) evicted.closeSockets()
        if (n % 200 === 150) goBack()
        if (n % 100 === 50) overload()
        if (n % EVICTED_EVERY === 0) void evicted.evict()
        answers[n] = await next(n)
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, lane))

    expect(answers).toEqual(Array.from({ length: CALLS }, (_, n) => n + 1))
    const states = await sql(
      'select state, count(*)::int8 as jobs from callplane.jobs where namespace = $1 group by state',
      [plane.namespace],
    )
    expect(states).toEqual([{ state: 'succeeded', jobs: CALLS }])
    // And it was as bad as it was meant to be.
    expect(evicted.count).toBeGreaterThan(0)
    expect(Math.min(refused.fetch, refused.arm)).toBeGreaterThan(0)
    expect(statuses).toEqual(new Set([200, 503]))
  },
)
