// How soon a poll has a job that is created while it joins the bell, on a real Postgres: at once, wherever the two meet.
import { expect, test } from 'vitest'
import type { Bell } from '../../src/bell/bell.ts'
import { inProcessBell } from '../../src/bell/in-process.ts'
import { insertKey } from '../../src/db/keys.ts'
import { createApp } from '../../src/http/app.ts'
import { SCOPES } from '../../src/protocol/endpoint.ts'
import { hashSecret, newKey } from '../../src/protocol/keys.ts'
import { migratedDatabase } from '../support/fresh-database.ts'
import { aCall, create, pollOnce, succeeded } from '../support/wire.ts'

const isLong = process.env['CALLPLANE_LONG'] === '1'
const CREATES = isLong ? 50_000 : 1_000
/** A create is sent so long before its poll joins the bell, or after. */
const AROUND_MS = 5
/** What a woken poll may take. */
const PROMPT_MS = 1_000

const { database } = await migratedDatabase()

/** A service, and the runner whose polls wait for its jobs one after the other. */
interface Lane {
  service: string
  runner: string
  reports: object[]
}

interface Pickup {
  /** From sending the create until a poll has its job. */
  ms: number
  /** The look that follows upon joining found it, so that no ring was needed. */
  isFirstLook: boolean
}

interface Options {
  isRinging: boolean
  lanes: number
  waitMs: number
  /** The first pickup that takes longer ends it all: a failure need not last as long as a success. */
  withinMs: number
}

/** Creates the calls, each around the moment in which a poll for its service joins the bell. */
async function pickups({ isRinging, lanes, waitMs, withinMs }: Options): Promise<Pickup[]> {
  const { sql } = database
  /** What happens when a poll for the service comes to the bell. */
  const atTheBell = new Map<string, () => Promise<void>>()
  const local = inProcessBell({ lookEveryMs: Number.POSITIVE_INFINITY })
  const bell: Bell = {
    ...local,
    async join(interest) {
      if ('services' in interest) await atTheBell.get(interest.services[0] ?? '')?.()
      return local.join(interest)
    },
    ring: (ring) => (isRinging ? local.ring(ring) : Promise.resolve()),
  }
  // A process hands calls over to the polls that wait, which needs no ring.
  const app = createApp({ sql, bell, ...(isRinging ? { gather: setImmediate } : {}) })
  const { id, secret, key } = newKey()
  const grants = SCOPES.map((scope) => ({ scope }))
  await insertKey(sql, { id, namespace: `wake_${id}`, name: null, secretHash: await hashSecret(secret), grants })
  const fetch: typeof globalThis.fetch = async (input, init) => app.fetch(new Request(input, init))
  const plane = { options: { url: 'http://plane.test', key, fetch } }

  async function pickUp(lane: Lane): Promise<Pickup> {
    const { service, runner } = lane
    const call = await aCall({ service })
    const offsetMs = (2 * Math.random() - 1) * AROUND_MS
    let joins = 0
    let sentAtMs = NaN
    let created: Promise<unknown> | undefined
    const send = () => {
      sentAtMs = performance.now()
      return create(plane, [call])
    }
    atTheBell.set(service, async () => {
      if (++joins > 1) return
      created = offsetMs < 0 ? send() : sleep(offsetMs).then(send)
      if (offsetMs < 0) await sleep(-offsetMs)
    })
    for (;;) {
      const { jobs } = await pollOnce(plane, { runner, service, waitMs, reports: lane.reports, capacity: 1 })
      const pickedUpAtMs = performance.now()
      lane.reports = jobs.map((job) => succeeded(job, null))
      if (jobs.length === 0) continue
      expect(jobs).toMatchObject([{ id: call.id, attempt: 1 }])
      await created
      return { ms: pickedUpAtMs - sentAtMs, isFirstLook: joins === 1 }
    }
  }

  const all: Pickup[] = []
  let left = CREATES
  const play = async (_: unknown, index: number) => {
    const lane: Lane = { service: `lane_${index}`, runner: crypto.randomUUID(), reports: [] }
    while (left-- > 0) {
      const pickup = await pickUp(lane)
      all.push(pickup)
      if (pickup.ms > withinMs) left = 0
    }
  }
  await Promise.all(Array.from({ length: lanes }, play))
  local.close()
  return all
}

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

/** How long the pickups took, and those that the first look did not find. */
function figuresOf(all: readonly Pickup[]) {
  const sorted = (some: readonly Pickup[]) => some.map(({ ms }) => ms).toSorted((a, b) => a - b)
  const later = sorted(all.filter(({ isFirstLook }) => !isFirstLook))
  const median = (of: readonly number[]) => of[of.length >> 1] ?? NaN
  const times = sorted(all)
  const figures = {
    pickups: all.length,
    p50Ms: median(times),
    maxMs: times.at(-1) ?? NaN,
    later: later.length,
    laterP50Ms: median(later),
  }
  console.log(JSON.stringify(figures))
  return figures
}

test('a job that is created around the moment in which a poll joins the bell is picked up within a second', async () => {
  const withinMs = PROMPT_MS
  // So few that a create takes as long as the offsets: with more, nearly all come long after the first look.
  const all = await pickups({ isRinging: true, lanes: 8, waitMs: 5_000, withinMs })
  const { maxMs, later } = figuresOf(all)
  expect(maxMs).toBeLessThan(withinMs)
  expect(all).toHaveLength(CREATES)
  // They have met on both sides of the look.
  expect(later).toBeGreaterThan(0)
  expect(later).toBeLessThan(CREATES)
})

test('without a ring, it is picked up when the wait of the poll ends', async () => {
  const waitMs = 200
  const withinMs = waitMs + PROMPT_MS
  const all = await pickups({ isRinging: false, lanes: 50, waitMs, withinMs })
  const { maxMs, laterP50Ms } = figuresOf(all)
  expect(maxMs).toBeLessThan(withinMs)
  expect(all).toHaveLength(CREATES)
  expect(laterP50Ms).toBeGreaterThan(waitMs - 2 * AROUND_MS) // nothing else wakes them
})
