// What each call is to do, drawn before it is made: the function looks up its plan by the number that it is given.
import type { CallOptions } from '../../src/sdk/types.ts'
import type { Random } from './random.ts'

export const TENANTS = ['red', 'blue'] as const
export type Tenant = (typeof TENANTS)[number]

export const FUNCTIONS = ['quick', 'slow', 'once', 'flaky', 'timed', 'stubborn', 'poison', 'lasting'] as const
export type FunctionName = (typeof FUNCTIONS)[number]

export interface Plan {
  number: number
  tenant: Tenant
  function: FunctionName
  maxAttempts: number
  leaseMs: number
  /** How long an attempt runs. */
  runMs: number
  /** So many attempts throw before one returns. */
  throws: number
  options: CallOptions
  /** What the caller does beside waiting. */
  act: 'call' | 'start' | 'cancel' | 'abort'
  actAfterMs: number
}

/** What the functions are defined with. */
export const POLICIES: Record<FunctionName, { attempts: number; leaseMs: number; timeoutMs?: number }> = {
  quick: { attempts: 3, leaseMs: 30_000 },
  slow: { attempts: 4, leaseMs: 3_000 },
  once: { attempts: 1, leaseMs: 5_000 },
  flaky: { attempts: 4, leaseMs: 10_000 },
  timed: { attempts: 3, leaseMs: 10_000, timeoutMs: 2_000 },
  stubborn: { attempts: 5, leaseMs: 1_000 },
  poison: { attempts: 2, leaseMs: 2_000 },
  lasting: { attempts: 3, leaseMs: 30_000 },
}

const MIX: readonly FunctionName[] = [
  ...Array<FunctionName>(12).fill('quick'),
  'slow',
  'once',
  'once',
  'flaky',
  'flaky',
  'timed',
  'stubborn',
]

export interface PlanLimits {
  /** No plan may cost an attempt by itself. */
  isOneAttempt: boolean
  longestMs: number
  /** Functions that kill their runner. */
  hasPoison: boolean
}

export function planOf(random: Random, number: number, { isOneAttempt, longestMs, hasPoison }: PlanLimits): Plan {
  const tenant = random.pick(TENANTS)
  let name = random.pick(MIX)
  // Those with leases so short that a few lost messages end them, and those that fail by themselves.
  if (isOneAttempt && name !== 'quick') name = 'lasting'
  if (hasPoison && random.chance(0.005)) name = 'poison'
  const { attempts, leaseMs } = POLICIES[name]
  const delayMs = random.chance(0.05) ? random.int(1, 5_000) : undefined
  const deadlineMs = !isOneAttempt && random.chance(0.04) ? random.int(500, 20_000) : undefined
  const act = random.chance(0.1) ? random.pick(['start', 'cancel', 'abort'] as const) : 'call'
  return {
    number,
    tenant,
    function: name,
    maxAttempts: attempts,
    leaseMs,
    runMs: runMs(random, name, longestMs),
    throws: name === 'flaky' ? random.int(0, 5) : 0,
    options: {
      ...(delayMs === undefined ? {} : { delayMs }),
      ...(deadlineMs === undefined ? {} : { deadlineMs }),
      ...(random.chance(0.05) ? { priority: random.int(-2, 2) } : {}),
    },
    act: isOneAttempt && act !== 'start' ? 'call' : act,
    actAfterMs: random.int(0, 3_000),
  }
}

function runMs(random: Random, name: FunctionName, longestMs: number): number {
  switch (name) {
    case 'quick':
      return random.chance(0.8) ? 0 : random.int(1, 30)
    case 'slow':
      return random.int(100, longestMs)
    case 'lasting':
      return random.chance(0.95) ? random.int(0, 300) : random.int(1_000, 40_000)
    case 'timed':
      return random.int(0, 4_000)
    case 'stubborn':
      return random.int(500, longestMs)
    case 'once':
    case 'flaky':
    case 'poison':
      return random.int(0, 200)
  }
}
