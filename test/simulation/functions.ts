// The functions that the runners of the world run: each does what the plan of its call says, and tells the checker.
import { currentCall, define } from '../../src/sdk/index.ts'
import { POLICIES, type FunctionName, type Plan, type Tenant } from './plan.ts'
import type { World } from './world.ts'

/** What an attempt returns: whose call it was, and which execution of all. */
export type Result = [number: number, fence: number, execution: number]

export function functionsOf(world: World, tenant: Tenant, die: () => void) {
  let executions = 0

  function begin(number: number): { plan: Plan; result: Result; attempt: number; signal: () => AbortSignal } {
    const call = currentCall()
    const plan = world.checker.planOf(number)
    if (plan === undefined) throw new Error(`call ${number} has no plan`)
    world.history.note(`runs attempt ${call.attempt} under fence ${call.fence}`, `${tenant}/${call.id}`)
    world.checker.executed(tenant, number, call)
    return { plan, result: [number, call.fence, executions++], attempt: call.attempt, signal: () => call.signal }
  }

  const plain = async (number: number): Promise<Result> => {
    const { plan, result } = begin(number)
    if (plan.runMs > 0) await sleep(plan.runMs)
    return result
  }
  const flaky = async (number: number): Promise<Result> => {
    const { plan, result, attempt } = begin(number)
    await sleep(plan.runMs)
    if (attempt <= plan.throws) throw new Error(`thrown by attempt ${attempt}`)
    return result
  }
  const timed = async (number: number): Promise<Result> => {
    const { plan, result, signal } = begin(number)
    // It ends as soon as its time is over, or a little later.
    if (plan.number % 2 === 0) await Promise.race([sleep(plan.runMs), abortOf(signal())])
    else await sleep(plan.runMs)
    if (signal().aborted) throw new Error('gave up')
    return result
  }
  const poison = async (number: number): Promise<Result> => {
    const { plan, result } = begin(number)
    await sleep(plan.runMs)
    die()
    return result
  }
  // It does not end when its signal aborts: what it returns comes long after its lease.
  const bodies = { quick: plain, slow: plain, lasting: plain, once: plain, stubborn: plain, flaky, timed, poison }
  const defined = <Name extends FunctionName>(name: Name) => define(optionsOf(name), bodies[name])
  return {
    quick: defined('quick'),
    slow: defined('slow'),
    lasting: defined('lasting'),
    once: defined('once'),
    stubborn: defined('stubborn'),
    flaky: defined('flaky'),
    timed: defined('timed'),
    poison: defined('poison'),
  }
}

function optionsOf(name: FunctionName) {
  const { attempts, leaseMs, timeoutMs } = POLICIES[name]
  const on = name === 'flaky' || name === 'timed' ? ['stall', 'throw', 'timeout'] : ['stall']
  const backoff = { initialMs: 100, factor: 2, maxMs: 2_000 }
  return { leaseMs, retry: { attempts, on, backoff }, ...(timeoutMs === undefined ? {} : { timeoutMs }) }
}

function abortOf(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
