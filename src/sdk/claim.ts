// What a runner asks for next: which poll goes out, given what it can take and what it has asked for already.
import { MAX_CLAIM, MAX_WAIT_MS } from '../protocol/limits.ts'
import type { ClaimRequest } from '../protocol/runners.ts'
import type { Served } from './served.ts'

/** Everything asked for under one id. It lasts until the answer to its newest poll was received. */
export interface Claim {
  readonly id: string
  /** The services that one of its polls named. */
  readonly services: Set<Served>
  /** The attempts that its answers brought: two of them may bring the same. */
  readonly tokens: Set<string>
  /** Whether a poll of it was cut off: the next asks for what that one brought, and does not wait. */
  isCutOff: boolean
}

/** One request for jobs. */
export interface Poll {
  readonly claim: Claim
  /** For each service, how many jobs. */
  readonly asked: ReadonlyMap<Served, number>
  readonly waitMs: number
  readonly controller: AbortController
}

/** How many more jobs of each service can run here; those that can take none are left out. */
export function capacitiesOf(all: Iterable<Served>): Map<Served, number> {
  const free = new Map<Served, number>()
  for (const served of all) {
    const count = served.slots - served.running - served.waiting
    if (served.isAccepting && count > 0) free.set(served, count)
  }
  return free
}

/**
 * The poll to send, or null where there is nothing to ask for, or the one under way says it all. `claim` is the one that
 * has no answer yet, `current` its newest poll, unless that one failed.
 */
export function nextPoll(claim: Claim | null, current: Poll | null, capacities: Map<Served, number>): Poll | null {
  if (claim === null) return capacities.size === 0 ? null : pollOf(newClaim(), capacities, waitMs())
  // A service that stopped or has fewer slots now: what it was given already must be known soon.
  if (claim.isCutOff) return current === null ? pollOf(claim, capacities, 0) : null
  const isLess = current === null ? !isAll(claim.services, capacities) : !isCovered(current.asked, capacities)
  if (current !== null) {
    const isMore = !isAll(capacities.keys(), current.asked)
    if (current.waitMs === 0 || (!isLess && !isMore)) return null
  }
  return pollOf(claim, capacities, isLess ? 0 : waitMs())
}

export function wireClaim({ claim, asked, waitMs: longestMs }: Poll): ClaimRequest {
  const services = [...asked].map(([{ name, functionNames }, capacity]) => ({
    name,
    functions: functionNames,
    capacity,
  }))
  const [any] = claim.services
  // Nothing to ask for, but what the claim holds: under the name of a function that nobody has, no other job comes.
  if (services.length === 0 && any !== undefined) {
    services.push({ name: any.name, functions: [`_${claim.id.replaceAll('-', '')}`], capacity: 1 })
  }
  return { id: claim.id, waitMs: longestMs, services }
}

function newClaim(): Claim {
  return { id: crypto.randomUUID(), services: new Set(), tokens: new Set(), isCutOff: false }
}

function pollOf(claim: Claim, capacities: ReadonlyMap<Served, number>, longestMs: number): Poll {
  // All of one claim's jobs together have a limit.
  const share = Math.max(1, Math.floor(MAX_CLAIM / Math.max(1, capacities.size)))
  const asked = new Map<Served, number>()
  for (const [served, count] of capacities) {
    asked.set(served, Math.min(count, share))
    claim.services.add(served)
  }
  return { claim, asked, waitMs: longestMs, controller: new AbortController() }
}

export function sumOf(asked: ReadonlyMap<Served, number>): number {
  let sum = 0
  for (const count of asked.values()) sum += count
  return sum
}

/** Jittered, so that runners that started together do not ask together for ever. */
function waitMs(): number {
  return Math.round(MAX_WAIT_MS * (1 - 0.1 * Math.random()))
}

function isAll(services: Iterable<Served>, known: ReadonlyMap<Served, number>): boolean {
  for (const served of services) if (!known.has(served)) return false
  return true
}

function isCovered(asked: ReadonlyMap<Served, number>, capacities: ReadonlyMap<Served, number>): boolean {
  for (const [served, count] of asked) if ((capacities.get(served) ?? 0) < count) return false
  return true
}
