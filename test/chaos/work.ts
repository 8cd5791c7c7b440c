// The service that every run calls. Each function writes that it begins, then does as its arguments say, and returns its fence.
import { currentCall, define, type Callplane, type Service } from 'callplane'
import type { History } from './history.ts'

/** How the functions of a run are tried. A killed runner costs each job that it holds an attempt. */
export interface WorkPolicy {
  attempts: number
  leaseMs: number
}

export interface Worked {
  call: number
  fence: number
}

/** The exit code by which a runner shows that a function ended it. */
export const POISONED = 86

interface Host {
  history: History
  namespace: string
}

function begin({ history, namespace }: Host, call: number): Worked {
  const { id, attempt, fence } = currentCall()
  history.write({ kind: 'execution', call, namespace, job: id, attempt, fence, runner: process.pid })
  return { call, fence }
}

const rest = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

function functionsOf(host: Host, { attempts, leaseMs }: WorkPolicy) {
  const work = async (call: number, ms: number): Promise<Worked> => {
    const worked = begin(host, call)
    if (ms > 0) await rest(ms)
    return worked
  }
  const retry = { attempts, backoff: { initialMs: 50 } }
  return {
    /** Rests so long, and is tried again whatever happens. */
    work: define({ retry, leaseMs }, work),
    /** The same, at most once. */
    once: define({ retry: { attempts: 1 }, leaseMs }, work),
    /** No retry: what times out has ended. */
    race: define({ leaseMs }, work),
    /** Ends its process at once; without a policy it has three attempts. */
    poison: define({ leaseMs }, (_call: number, _ms: number): Worked => process.exit(POISONED)),
  }
}

export function workOf(plane: Callplane, host: Host, policy: WorkPolicy, slots: number): Work {
  return plane.service('work', { functions: functionsOf(host, policy), slots })
}

export type Work = Service<'work', ReturnType<typeof functionsOf>>
