// What kind of world a seed makes: how many of each process, what goes wrong, and what may be expected of it.
import { NO_FAULTS, type Faults } from './faults.ts'
import type { Random } from './random.ts'

export type Kind = 'calm' | 'lossy' | 'crashes' | 'storm'

export interface Scenario {
  kind: Kind
  planes: number
  /** Of each tenant. */
  runners: number
  callers: number
  slots: number
  calls: number
  /** The longest burst of calls that one tick makes, and the longest pause between two. */
  burst: number
  pauseMs: number
  /** The mean time between two changes of a runner's slots; Infinity: none. */
  resizeEveryMs: number
  faults: Faults
  /** The mean time between two crashes of a kind of process; Infinity: none. */
  crashEveryMs: { runner: number; caller: number; plane: number }
  /** Of a runner's crashes, how many are freezes, from which it comes back as if nothing had been. */
  freezes: number
  hasAlarm: boolean
  hasCron: boolean
  cronEveryMs: number
  /** Row locks are seen by those who skip them, or the guards decide alone. */
  hasLocks: boolean
  /** How late the sweep may be; Infinity where too much goes wrong to say. */
  sweepWithinMs: number
  /** How soon a job begins to run that a runner waits for. */
  pickupWithinMs: number
  /** How soon a caller hears of the end that it waits for. */
  toldWithinMs: number
  /** Nothing happens that would cost an attempt. */
  isOneAttempt: boolean
  /** Durations of the functions reach so far. */
  longestMs: number
}

/** Outcomes of other planes are looked for, less and less often, up to twice a second. */
const TOLD_WITHIN_MS = 2_500

export function scenarioOf(random: Random, calls: number): Scenario {
  const kind = random.pick<Kind>(['calm', 'calm', 'lossy', 'lossy', 'crashes', 'crashes', 'storm', 'storm', 'storm'])
  const hasCron = random.chance(0.6)
  const base: Scenario = {
    kind,
    planes: random.int(1, 3),
    runners: random.int(1, 3),
    callers: random.int(1, 3),
    slots: random.pick([2, 10, 50, 100]),
    calls,
    burst: random.pick([10, 60, 200]),
    pauseMs: 1_000,
    resizeEveryMs: random.pick([Infinity, 500, 5_000]),
    faults: NO_FAULTS,
    crashEveryMs: { runner: Infinity, caller: Infinity, plane: Infinity },
    freezes: 0,
    hasCron,
    hasAlarm: !hasCron || random.chance(0.5),
    cronEveryMs: 60_000,
    hasLocks: random.chance(0.5),
    sweepWithinMs: Infinity,
    pickupWithinMs: Infinity,
    toldWithinMs: Infinity,
    isOneAttempt: false,
    longestMs: 4_000,
  }
  switch (kind) {
    case 'calm':
      return {
        ...base,
        ...quiet(random, calls),
        faults: slowly(random),
        pickupWithinMs: 1_500,
        toldWithinMs: TOLD_WITHIN_MS,
        isOneAttempt: true,
      }
    case 'lossy':
      return {
        ...base,
        ...quiet(random, calls),
        // Two do not know of each other's polls. One that hangs at the other, behind a proxy that has given it up, may be
        // given a job of which nobody hears: silence counts.
        planes: 1,
        pickupWithinMs: 15_000,
        isOneAttempt: true,
        faults: lossy(random),
      }
    case 'crashes':
      return {
        ...base,
        crashEveryMs: { runner: random.int(3_000, 20_000), caller: random.int(5_000, 60_000), plane: Infinity },
        freezes: random.pick([0, 0.3, 1]),
        toldWithinMs: TOLD_WITHIN_MS,
        sweepWithinMs: base.hasAlarm ? 1_000 : base.cronEveryMs + 100,
      }
    case 'storm':
      return {
        ...base,
        faults: storm(random),
        crashEveryMs: {
          runner: random.int(3_000, 40_000),
          caller: random.int(5_000, 60_000),
          plane: random.int(3_000, 40_000),
        },
        freezes: random.pick([0, 0.3, 1]),
      }
  }
}

/** Often one plane, which hears all its rings, and few calls: nothing but its ring makes up for one that is missed. */
function quiet(random: Random, calls: number) {
  const pauseMs = random.pick([1_000, 3_000, 10_000])
  const isSparse = random.chance(0.5)
  return {
    planes: random.pick([1, 1, 2]),
    runners: random.pick([1, 1, 2]),
    slots: 1_000,
    resizeEveryMs: random.pick([Infinity, Infinity, 5_000]),
    burst: isSparse ? random.pick([1, 3]) : random.pick([20, 200]),
    pauseMs,
    calls: isSparse ? Math.min(calls, 60) : calls,
  }
}

/** The longer a look takes, the more comes between it and the wait. */
function slowly(random: Random): Faults {
  return { ...NO_FAULTS, sql: { ...NO_FAULTS.sql, latencyMs: random.pick([NO_FAULTS.sql.latencyMs, [20, 80]]) } }
}

/** Whatever is lost, both ends hear that it is: nothing here may cost an attempt. */
function lossy(random: Random): Faults {
  const chance = () => random.pick([0, 0.02, 0.04])
  const network = {
    ...NO_FAULTS.network,
    dropRequest: chance(),
    dropAnswer: chance(),
    reset: chance(),
    refuse: chance(),
  }
  return { network, sql: { ...NO_FAULTS.sql, failBefore: chance(), loseAnswer: chance(), loseStatement: chance() } }
}

function storm(random: Random): Faults {
  const chance = () => random.pick([0, 0.01, 0.03, 0.1])
  return {
    network: {
      latencyMs: random.pick([
        [1, 10],
        [0, 100],
      ]),
      dropRequest: chance(),
      dropAnswer: chance(),
      duplicate: chance(),
      reset: chance(),
      delay: chance(),
      refuse: chance(),
      silence: random.pick([0, 0.2, 1]),
    },
    sql: {
      latencyMs: random.pick([
        [1, 4],
        [0, 40],
      ]),
      failBefore: chance(),
      loseStatement: chance(),
      loseAnswer: chance(),
      rollBack: chance(),
      slow: chance(),
    },
  }
}
