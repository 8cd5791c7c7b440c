// The transitions that requests ask for, as the host runs them: each by itself, or those that come together as one.
import type { Sql } from '../db/sql.ts'
import type { CallRequest } from '../protocol/calls.ts'
import type { CallplaneError } from '../protocol/errors.ts'
import { completeJobs } from './complete.ts'
import { enqueueJobs, type Enqueued, type Reserve } from './enqueue.ts'
import { failJobs, type FailureReport } from './fail.ts'
import { grouped, type Transition } from './group.ts'
import { heartbeatJobs } from './heartbeat.ts'
import type { LeaseRef, Verdict } from './lease.ts'

export interface Transitions {
  enqueue: Transition<CallRequest, Enqueued>
  complete: Transition<LeaseRef & { result: Uint8Array }, Verdict>
  fail: Transition<FailureReport, Verdict>
  heartbeat: Transition<LeaseRef & { progress?: Uint8Array }, CallplaneError | null>
}

export interface TransitionOptions {
  retentionMs: number
  /** Runners that wait, in this process. Default: none is known. */
  reserve?: Reserve | undefined
}

export function transitions(sql: Sql, { retentionMs, reserve = () => null }: TransitionOptions): Transitions {
  return {
    async enqueue(namespace, calls) {
      // For this very statement, since its answer decides what each is given.
      const reserved = reserve(namespace, calls)
      if (reserved === null) return enqueueJobs(sql, namespace, calls, { retentionMs })
      const { holders, settle } = reserved
      let enqueued: Enqueued[] = []
      try {
        enqueued = await enqueueJobs(sql, namespace, calls, { retentionMs, holders })
        return enqueued
      } finally {
        settle(enqueued)
      }
    },
    complete: (namespace, reports) => completeJobs(sql, namespace, reports),
    fail: (namespace, reports) => failJobs(sql, namespace, reports),
    heartbeat: (namespace, heartbeats) => heartbeatJobs(sql, namespace, heartbeats),
  }
}

/** For a process that answers many requests at once. `defer` as in group.ts. */
export function groupedTransitions(all: Transitions, defer: (run: () => void) => void): Transitions {
  const keyOf = ({ id }: { id: string }) => id
  return {
    enqueue: grouped(all.enqueue, { keyOf, bytesOf: ({ args }) => args.length, defer }),
    complete: grouped(all.complete, { keyOf, bytesOf: ({ result }) => result.length, defer }),
    fail: grouped(all.fail, { keyOf, bytesOf: ({ error }) => error.length, defer }),
    heartbeat: grouped(all.heartbeat, { keyOf, bytesOf: ({ progress }) => progress?.length ?? 0, defer }),
  }
}
