// The bell of one process: waiters and writers share memory, and a ring carries the outcome along.
import { later, sweepAlarm } from './alarm.ts'
import { newArms, type Arms } from './arms.ts'
import { newCalm } from './calm.ts'
import type { Bell, EndedCall, Interest, Ring, Wake, Waiter } from './bell.ts'
import { owedRings } from './owed.ts'

/** A ring further off than this is the alarm's, which knows it from the database should this process end. */
export const MAX_RING_AHEAD_MS = 60_000

/** What a waiter tells its bell. */
interface Told {
  looked(waiter: InProcessWaiter, fromMs: number): void
  left(waiter: InProcessWaiter, isUnheard: boolean): void
}

class InProcessWaiter implements Waiter {
  readonly interest: Interest
  readonly isQuiet: boolean
  readonly isCalm: boolean
  readonly #joinedAtMs = performance.now()
  readonly #arms: Arms
  readonly #told: Told
  #kept: Wake | null = null
  #resolve: ((wake: Wake) => void) | null = null

  constructor(interest: Interest, { arms, isCalm, told }: { arms: Arms; isCalm: boolean; told: Told }) {
    this.interest = interest
    this.#arms = arms
    this.#told = told
    this.isQuiet = 'kind' in interest && arms.isQuiet(interest.kind)
    this.isCalm = isCalm
  }

  foundNothing(): void {
    if ('kind' in this.interest) this.#arms.foundNothing(this.interest.kind, this.#joinedAtMs)
    this.#told.looked(this, this.#joinedAtMs)
  }

  wake(wake: Wake): void {
    // Two rings before one look are one ring; what they carried is joined.
    const kept = this.#kept
    const ended = wake.why === 'rung' && kept?.why === 'rung' ? [...kept.ended, ...wake.ended] : null
    this.#kept = ended === null ? wake : { why: 'rung', ended }
    this.#end()
  }

  #end(): void {
    const resolve = this.#resolve
    if (resolve === null) return
    this.#resolve = null
    resolve(this.#take())
  }

  #take(): Wake {
    const wake = this.#kept ?? { why: 'time' }
    // Who was replaced stays so: its later waits end at once too.
    if (wake.why !== 'replaced') this.#kept = null
    return wake
  }

  async woken(maxMs: number, signal?: AbortSignal): Promise<Wake> {
    if (this.#kept !== null || maxMs <= 0 || signal?.aborted === true) return this.#take()
    const { promise, resolve } = Promise.withResolvers<Wake>()
    const giveUp = () => {
      this.#resolve = null
      resolve({ why: 'time' })
    }
    this.#resolve = resolve
    const timer = setTimeout(giveUp, maxMs)
    signal?.addEventListener('abort', giveUp, { once: true })
    try {
      return await promise
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', giveUp)
    }
  }

  readonly handed = (): void => {
    // A ring that is kept stays so, and is seen first.
    this.#kept ??= { why: 'handed' }
    this.#end()
  }

  leave(isUnheard = false): void {
    // So is a ring that came after this poll had looked, and that it has not even taken.
    this.#told.left(this, isUnheard || this.#kept?.why === 'rung')
  }
}

export interface InProcessBellOptions {
  /** Infinity where no other process writes. */
  lookEveryMs: number
  /** What the alarm runs; returns in how many milliseconds it wants to run again. Default: there is no alarm. */
  sweep?: () => Promise<number | null>
  /** Called whenever somebody, here or elsewhere, may be about to write or has written. */
  armed?: () => void
}

export interface LocalBell extends Bell {
  /** Every waiter, or those of a namespace, is to look for itself. */
  lookAgain(namespace?: string): void
  /** Ends every wait there is, since the process goes. */
  close(): void
}

/** A bell for waiters and writers of this process. */
export function inProcessBell({ lookEveryMs, sweep, armed = () => {} }: InProcessBellOptions): LocalBell {
  const alarm = sweep === undefined ? null : sweepAlarm(sweep)
  const arms = newArms()
  const calm = newCalm()
  let sweptAtMs = -Infinity
  let wantedAtMs = -Infinity
  // Sets keep the order of arrival, so that the longest waiting is woken first.
  const byTopic = new Map<string, Set<InProcessWaiter>>()
  const byClaim = new Map<string, InProcessWaiter>()

  const topicsOf = (interest: Interest): string[] =>
    'calls' in interest
      ? interest.calls.map((id) => `${interest.namespace} call ${id}`)
      : interest.services.map((service) => `${interest.namespace} service ${service}`)
  const claimOf = (interest: Interest) => ('calls' in interest ? null : `${interest.namespace} ${interest.claimId}`)
  const owed = owedRings<InProcessWaiter>((ring) => {
    const { namespace } = ring.waiter.interest
    if (!wakeNext(namespace, ring)) calm.untaken(`${namespace} ${ring.service}`)
  })

  function leaveTopics(waiter: InProcessWaiter): void {
    for (const topic of topicsOf(waiter.interest)) {
      const waiters = byTopic.get(topic)
      waiters?.delete(waiter)
      if (waiters?.size === 0) byTopic.delete(topic)
    }
  }

  function leave(waiter: InProcessWaiter): void {
    leaveTopics(waiter)
    const claim = claimOf(waiter.interest)
    if (claim !== null && byClaim.get(claim) === waiter) byClaim.delete(claim)
  }

  function wakeService(namespace: string, service: string, jobs: number): void {
    for (let left = jobs; left > 0; left--) {
      if (!wakeNext(namespace, { claim: null, service, isSpare: false })) return calm.untaken(`${namespace} ${service}`)
    }
  }

  /** Wakes the longest waiting, of another claim than the one that was given this ring before; says whether there was one. */
  function wakeNext(
    namespace: string,
    { claim: before, service, isSpare }: { claim: string | null; service: string; isSpare: boolean },
  ): boolean {
    for (const waiter of byTopic.get(`${namespace} service ${service}`) ?? []) {
      const claim = claimOf(waiter.interest)
      if (claim === null || claim === before) continue
      // Gone from the topic until its next join: the ring after this one wakes another. It keeps its claim, so that a
      // newer poll with the same claim id still ends it while it looks.
      leaveTopics(waiter)
      owed.rung({ waiter, claim, service, isSpare })
      waiter.wake({ why: 'rung', ended: [] })
      return true
    }
    return false
  }

  function wakeCallers(namespace: string, ended: readonly EndedCall[]): void {
    const byWaiter = new Map<InProcessWaiter, EndedCall[]>()
    for (const call of ended) {
      for (const waiter of byTopic.get(`${namespace} call ${call.id}`) ?? []) {
        const calls = byWaiter.get(waiter)
        if (calls === undefined) byWaiter.set(waiter, [call])
        else calls.push(call)
      }
    }
    for (const [waiter, calls] of byWaiter) waiter.wake({ why: 'rung', ended: calls })
  }

  return {
    lookEveryMs,
    isQuietSince: async (_, atMs) => arms.isQuietSince(atMs),
    isSwept: async () => arms.isQuietSince(sweptAtMs) && performance.now() < wantedAtMs,

    async arm() {
      arms.arm()
      armed()
    },

    async swept(agoMs, nextMs) {
      sweptAtMs = performance.now() - agoMs
      wantedAtMs = nextMs === null ? Infinity : performance.now() + nextMs
    },

    lookAgain(namespace) {
      calm.forget()
      const waiters = new Set([...byTopic.values()].flatMap((of) => [...of]))
      for (const waiter of waiters) {
        if (namespace === undefined || waiter.interest.namespace === namespace) waiter.wake({ why: 'rung', ended: [] })
      }
    },

    close() {
      alarm?.stop()
      owed.stop()
      for (const waiters of byTopic.values()) for (const waiter of waiters) waiter.wake({ why: 'replaced' })
    },

    async join(interest) {
      const claim = claimOf(interest)
      const told: Told = {
        looked(of, fromMs) {
          if (claim !== null) owed.looked(claim, of)
          if ('kind' in interest) calm.foundNothing(interest.kind, fromMs)
        },
        left(of, isUnheard) {
          leave(of)
          if (claim === null) return
          owed.looked(claim, of)
          if (isUnheard) owed.unheard(claim, of)
        },
      }
      const isCalm =
        'kind' in interest &&
        calm.isCalm(
          claim ?? '',
          interest.kind,
          interest.services.map((service) => `${interest.namespace} ${service}`),
        )
      const waiter = new InProcessWaiter(interest, { arms, isCalm, told })
      if (claim !== null) {
        owed.joined(claim)
        const replaced = byClaim.get(claim)
        if (replaced !== undefined) {
          leave(replaced)
          replaced.wake({ why: 'replaced' })
        }
        byClaim.set(claim, waiter)
      }
      for (const topic of topicsOf(interest)) {
        const waiters = byTopic.get(topic)
        if (waiters === undefined) byTopic.set(topic, new Set([waiter]))
        else waiters.add(waiter)
      }
      return waiter
    },

    async ring({ namespace, due = [], ended = [] }: Ring) {
      // A delayed job that has become due is news without a commit: polls that come later must look too.
      if (due.length + ended.length === 0) return
      arms.arm()
      armed()
      wakeCallers(namespace, ended)
      for (const { service, jobs, inMs = 0 } of due) {
        if (inMs <= 0) wakeService(namespace, service, jobs)
        else if (inMs <= MAX_RING_AHEAD_MS) later(() => void this.ring({ namespace, due: [{ service, jobs }] }), inMs)
        else alarm?.by(inMs)
      }
    },

    async alarm(inMs) {
      alarm?.by(inMs)
    },
  }
}
