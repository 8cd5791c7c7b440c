// Random operations on jobs, through the transitions of src/jobs: what the differential test runs on both databases.
import type { Sql } from '../../src/db/sql.ts'
import { cancelJobs } from '../../src/jobs/cancel.ts'
import { claimJobs } from '../../src/jobs/claim.ts'
import { completeJobs } from '../../src/jobs/complete.ts'
import { findJustDue } from '../../src/jobs/due.ts'
import { enqueueJobs } from '../../src/jobs/enqueue.ts'
import { expireJobs } from '../../src/jobs/expire.ts'
import { failJobs } from '../../src/jobs/fail.ts'
import { findJob, findOutcomes } from '../../src/jobs/find.ts'
import { forgetEvents, forgetJobs, forgetRunners } from '../../src/jobs/forget.ts'
import { giveBackJobs } from '../../src/jobs/give-back.ts'
import { heartbeatJobs } from '../../src/jobs/heartbeat.ts'
import type { LeaseRef } from '../../src/jobs/lease.ts'
import { findNextDuties } from '../../src/jobs/overdue.ts'
import { registerRunner } from '../../src/jobs/register.ts'
import { retryStalledJobs } from '../../src/jobs/stall.ts'
import { newCallId } from '../../src/protocol/call-id.ts'
import type { CallRequest } from '../../src/protocol/calls.ts'
import type { RetryPolicy } from '../../src/protocol/policy.ts'
import { EPOCH_MS } from './globals.ts'
import type { Random } from './random.ts'

const EVENTS_KEPT_MS = 30_000
const RETENTION_MS = 100_000
const NAMESPACES = ['red', 'blue'] as const
const SERVICES = ['s', 't'] as const
const FUNCTIONS = ['f', 'g'] as const

/** One world of operations; each is drawn with what the earlier ones have left. */
export class Operations {
  readonly #sql: Sql
  readonly #random: Random
  readonly #nowMs: () => number
  readonly #calls: { namespace: string; call: CallRequest }[] = []
  readonly #leases: (LeaseRef & { namespace: string })[] = []
  readonly #runners: string[]
  readonly #claims: string[]

  constructor(sql: Sql, random: Random, nowMs: () => number) {
    this.#sql = sql
    this.#random = random
    this.#nowMs = nowMs
    this.#runners = [random.uuid(), random.uuid()]
    this.#claims = [random.uuid(), random.uuid(), random.uuid(), random.uuid()]
  }

  readonly verbs: Readonly<Record<string, () => Promise<unknown>>> = {
    enqueue: () => this.#enqueue(),
    enqueueAgain: () => this.#enqueueAgain(),
    register: () => this.#register(),
    claim: () => this.#claim(),
    claimMore: () => this.#claim(),
    complete: () => {
      const [namespace, leases] = this.#someLeases()
      return completeJobs(
        this.#sql,
        namespace,
        leases.map((lease) => ({ ...lease, result: this.#bytes() })),
      )
    },
    fail: () => {
      const [namespace, leases] = this.#someLeases()
      const reports = leases.map((lease) => ({ ...lease, error: this.#bytes(), isRetryable: this.#random.chance(0.7) }))
      return failJobs(this.#sql, namespace, reports)
    },
    heartbeat: () => {
      const [namespace, leases] = this.#someLeases()
      const beats = leases.map((lease) => (this.#random.chance(0.5) ? lease : { ...lease, progress: this.#bytes() }))
      return heartbeatJobs(this.#sql, namespace, beats)
    },
    giveBack: () => {
      const [namespace, leases] = this.#someLeases()
      return giveBackJobs(this.#sql, namespace, leases)
    },
    churn: () => this.#churn(),
    cancel: () => cancelJobs(this.#sql, this.#reach(), this.#someIds(), 'no longer wanted'),
    expire: () => expireJobs(this.#sql, { limit: 500, except: this.#someNamespaces() }),
    stall: () => retryStalledJobs(this.#sql, { limit: 500, except: this.#someNamespaces() }),
    duties: () => {
      const sinceMs = this.#random.int(0, 10_000)
      return findNextDuties(this.#sql, {
        retentionMs: RETENTION_MS,
        eventsKeptMs: EVENTS_KEPT_MS,
        sinceMs,
        except: this.#someNamespaces(),
      })
    },
    justDue: () => {
      const sinceMs = this.#random.int(0, 10_000)
      return findJustDue(this.#sql, { sinceMs, limit: 500, except: this.#someNamespaces() })
    },
    forget: async () => {
      await forgetJobs(this.#sql, { retentionMs: RETENTION_MS, limit: 500 })
      await forgetEvents(this.#sql, { keptMs: EVENTS_KEPT_MS, limit: 500 })
      await forgetRunners(this.#sql, { retentionMs: RETENTION_MS, limit: 500 })
    },
    outcomes: () =>
      findOutcomes(this.#sql, this.#reach(), this.#someIds(), { maxBytes: this.#random.pick([1, 4, 1e6]) }),
    find: async () => {
      for (const id of this.#someIds()) await findJob(this.#sql, this.#reach(), id)
    },
  }

  #enqueue(): Promise<unknown> {
    const random = this.#random
    const namespace = random.pick(NAMESPACES)
    const calls = Array.from({ length: random.int(1, 4) }, () => this.#newCall())
    for (const call of calls) this.#calls.push({ namespace, call })
    return enqueueJobs(this.#sql, namespace, calls, { retentionMs: RETENTION_MS })
  }

  /** The same call, or another one under its id. */
  async #enqueueAgain(): Promise<unknown> {
    const random = this.#random
    if (this.#calls.length === 0) return null
    const { namespace, call } = random.pick(this.#calls)
    const other = random.chance(0.5) ? call : { ...call, argsDigest: new Uint8Array(32).fill(9) }
    const sent = [random.chance(0.3) ? { ...other, function: random.pick(FUNCTIONS) } : other, this.#newCall()]
    return enqueueJobs(this.#sql, namespace, sent, { retentionMs: RETENTION_MS })
  }

  #newCall(): CallRequest {
    const random = this.#random
    const maybe = <T>(name: string, value: () => T) => (random.chance(0.3) ? { [name]: value() } : {})
    const skewMs = random.chance(0.05) ? random.pick([-60_000, -49_000, 86_400_001]) : 0
    return {
      id: newCallId(Math.max(0, EPOCH_MS + this.#nowMs() + skewMs)),
      service: random.pick(SERVICES),
      function: random.pick(FUNCTIONS),
      args: this.#bytes(),
      argsDigest: new Uint8Array(32).fill(random.int(0, 1)),
      ...maybe('parent', () => random.uuid()),
      ...maybe('delayMs', () => random.int(1, 5_000)),
      ...maybe('priority', () => random.int(-2, 2)),
      ...maybe('timeoutMs', () => random.int(100, 8_000)),
      ...maybe('deadlineMs', () => random.int(100, 30_000)),
      ...maybe('retry', () => this.#retry()),
    }
  }

  #retry(): RetryPolicy {
    const random = this.#random
    return {
      ...(random.chance(0.7) ? { attempts: random.int(1, 4) } : {}),
      ...(random.chance(0.5) ? { on: random.pick([['stall'], ['throw'], ['timeout', 'stall'], []]) } : {}),
      ...(random.chance(0.7)
        ? { backoff: { initialMs: random.int(0, 3_001), factor: random.pick([1, 1.5, 2]), jitter: 'none' as const } }
        : {}),
    }
  }

  #register(): Promise<unknown> {
    const random = this.#random
    const maybe = <T>(name: string, value: () => T) => (random.chance(0.4) ? { [name]: value() } : {})
    const services = SERVICES.map((name) => ({
      name,
      slots: random.int(0, 5),
      functions: FUNCTIONS.filter(() => random.chance(0.8)).map((one) => ({
        name: one,
        policy: {
          ...maybe('priority', () => random.int(-2, 2)),
          ...maybe('timeoutMs', () => random.int(100, 8_000)),
          ...maybe('deadlineMs', () => random.int(100, 30_000)),
          ...maybe('leaseMs', () => random.int(1_000, 60_000)),
          ...maybe('retry', () => this.#retry()),
        },
      })),
    }))
    return registerRunner(this.#sql, random.pick(NAMESPACES), { runner: random.pick(this.#runners), services })
  }

  /** The same jobs are taken and given back, more often than they may be. */
  async #churn(): Promise<unknown> {
    const namespace = this.#random.pick(NAMESPACES)
    for (let round = 0; round < 4; round++) {
      const leases = await this.#claim(namespace, this.#random.uuid())
      await giveBackJobs(this.#sql, namespace, leases)
    }
    return null
  }

  async #claim(
    namespace: string = this.#random.pick(NAMESPACES),
    claimId: string = this.#random.pick(this.#claims),
  ): Promise<LeaseRef[]> {
    const random = this.#random
    const services = SERVICES.filter(() => random.chance(0.8)).map((name) => ({
      name,
      functions: FUNCTIONS.filter(() => random.chance(0.9)),
      capacity: random.int(1, 3),
    }))
    const { jobs } = await claimJobs(
      this.#sql,
      { namespace, id: random.pick(this.#runners) },
      { claimId, services, maxBytes: random.pick([2, 6, 1e6]) },
    )
    for (const { id, token } of jobs) {
      if (!this.#leases.some((known) => known.token === token)) this.#leases.push({ namespace, id, token })
    }
    return jobs
  }

  /** Of one namespace, late ones first; now and then of a token or a job that there is not. */
  #someLeases(): [namespace: string, leases: LeaseRef[]] {
    const random = this.#random
    const namespace = random.pick(NAMESPACES)
    const known = this.#leases.filter((lease) => lease.namespace === namespace).slice(-8)
    const picked = known.filter(() => random.chance(0.4)).map(({ id, token }) => ({ id, token }))
    if (random.chance(0.1)) picked.push({ id: known.at(0)?.id ?? random.uuid(), token: random.uuid() })
    return [namespace, picked]
  }

  #someIds(): string[] {
    const random = this.#random
    const ids = this.#calls.slice(-10).flatMap(({ call }) => (random.chance(0.4) ? [call.id] : []))
    return random.chance(0.1) ? [...ids, random.uuid()] : ids
  }

  /** Mostly none. */
  #someNamespaces(): string[] {
    return NAMESPACES.filter(() => this.#random.chance(0.2))
  }

  #reach() {
    const services = this.#random.chance(0.3) ? [this.#random.pick(SERVICES)] : null
    return { namespace: this.#random.pick(NAMESPACES), services }
  }

  #bytes(): Uint8Array {
    const bytes = new Uint8Array(this.#random.int(1, 4))
    this.#random.fillBytes(bytes)
    return bytes
  }
}
