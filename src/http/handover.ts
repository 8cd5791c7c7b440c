// Handing over: a call that is made while a runner's poll waits for such is inserted as claimed, and leaves with the answer
// to that poll. It costs one statement instead of two, and no time between them.
//
//   caller ── create ──▶ plane ── insert, running, held by the claim of the poll ──▶ database
//                          │◀──────────────────────── committed ─────────────────────┘
//                          └──▶ answer to the poll
//
// Polls and writers must share memory. A poll waits only after a look has found nothing, so that nothing stands before the
// call. What was inserted and did not reach its poll is found as any lost answer is: by the next poll with the same claim id,
// else by the lease.
import type { Enqueued, Reserve } from '../jobs/enqueue.ts'
import type { RunnerRef } from '../jobs/claimed.ts'
import type { CallRequest } from '../protocol/calls.ts'
import { MAX_CLAIM, MAX_CLAIM_BYTES } from '../protocol/limits.ts'
import type { ClaimedJob, ClaimRequest } from '../protocol/runners.ts'

/** Of many polls that wait for a service, so many are asked whether they take the function. */
const MAX_TRIES = 8

/** A poll that waits. One statement at most hands jobs to it. */
interface Offer {
  runner: RunnerRef
  claim: ClaimRequest
  wake: () => void
  /** Once a statement has taken it: how many more jobs and bytes it can hold, and what it will be given. */
  reserved: { left: Map<string, number>; jobs: number; bytes: number; given: PromiseWithResolvers<ClaimedJob[]> } | null
}

export interface Handover {
  /** The poll waits from here on. `wake` is called when jobs are there, or when it is to look for itself. */
  open(runner: RunnerRef, claim: ClaimRequest, wake: () => void): { close(): Promise<ClaimedJob[]> }
  /** Resolves once no statement is under way that gives jobs to the claim: a look that begins then sees them. */
  settled(claimId: string): Promise<void>
  reserve: Reserve
}

export function newHandover(): Handover {
  // Sets keep the order of arrival: the longest waiting is asked first, and stands at the end after it was given a job.
  const waiting = new Map<string, Set<Offer>>()
  const reserved = new Map<string, Promise<ClaimedJob[]>>()

  const linesOf = ({ runner, claim }: Offer) => claim.services.map(({ name }) => `${runner.namespace} ${name}`)

  function leave(offer: Offer): void {
    for (const line of linesOf(offer)) {
      const offers = waiting.get(line)
      offers?.delete(offer)
      if (offers?.size === 0) waiting.delete(line)
    }
  }

  function takerOf(namespace: string, call: CallRequest): Offer | null {
    if ((call.delayMs ?? 0) > 0) return null
    const offers = waiting.get(`${namespace} ${call.service}`)
    let tries = 0
    for (const offer of offers ?? []) {
      if (tries++ === MAX_TRIES) return null
      if (!hasRoom(offer, call)) continue
      offers?.delete(offer)
      offers?.add(offer)
      return offer
    }
    return null
  }

  return {
    open(runner, claim, wake) {
      const offer: Offer = { runner, claim, wake, reserved: null }
      for (const line of linesOf(offer)) {
        const offers = waiting.get(line)
        if (offers === undefined) waiting.set(line, new Set([offer]))
        else offers.add(offer)
      }
      return {
        async close() {
          leave(offer)
          return offer.reserved?.given.promise ?? []
        },
      }
    },

    async settled(claimId) {
      await reserved.get(claimId)
    },

    reserve(namespace, calls) {
      const takers = calls.map((call) => {
        const offer = takerOf(namespace, call)
        if (offer !== null) take(offer, call)
        return offer
      })
      const taken = new Set(takers.filter((offer) => offer !== null))
      if (taken.size === 0) return null
      for (const offer of taken) {
        // No other statement may add to it: its answer would go before that one has committed.
        leave(offer)
        if (offer.reserved !== null) reserved.set(offer.claim.id, offer.reserved.given.promise)
      }
      const holders = takers.map((offer) =>
        offer === null ? null : { runner: offer.runner.id, claimId: offer.claim.id },
      )
      const settle = (enqueued: readonly Enqueued[]) => {
        for (const offer of taken) {
          const jobs = enqueued.flatMap((one, index) =>
            takers[index] === offer && 'claimed' in one && one.claimed !== null ? [one.claimed] : [],
          )
          reserved.delete(offer.claim.id)
          offer.reserved?.given.resolve(jobs)
          offer.wake()
        }
      }
      return { holders, settle }
    },
  }
}

function hasRoom({ claim, reserved }: Offer, call: CallRequest): boolean {
  const service = claim.services.find(({ name }) => name === call.service)
  if (service === undefined || !service.functions.includes(call.function)) return false
  if (reserved === null) return true
  const left = reserved.left.get(call.service) ?? service.capacity
  return left > 0 && reserved.jobs > 0 && reserved.bytes >= call.args.length
}

function take(offer: Offer, { service, args }: CallRequest): void {
  offer.reserved ??= {
    left: new Map(offer.claim.services.map(({ name, capacity }) => [name, capacity])),
    jobs: MAX_CLAIM,
    bytes: MAX_CLAIM_BYTES,
    given: Promise.withResolvers(),
  }
  const { reserved } = offer
  reserved.left.set(service, (reserved.left.get(service) ?? 0) - 1)
  reserved.jobs--
  reserved.bytes -= args.length
}
